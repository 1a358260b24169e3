"""The peaks of memory: each process of a stack with all that it has forked, looked at a few times a second."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from app.stack.stack import Stack

# Seconds between two looks; what rises and falls in between is not seen.
_EVERY = 0.1


@dataclass
class Peaks:
    """The most that was seen of each process, in bytes."""

    families: dict[str, int] = field(default_factory=dict)  # a process with all below it, what they share counted once
    members: dict[str, int] = field(default_factory=dict)  # the largest of them alone

    def note(self, name: str, sizes: list[int]) -> None:
        """Take what each process of a family has now."""
        self.families[name] = max(self.families.get(name, 0), sum(sizes))
        self.members[name] = max(self.members.get(name, 0), *sizes)


@contextmanager
def watched(stack: Stack) -> Iterator[Peaks]:
    """Watch a stack during this block."""
    peaks, over = Peaks(), threading.Event()

    def look() -> None:
        while not over.wait(_EVERY):
            for name, process in list(stack.processes.items()):
                if process.pid is not None and (sizes := _sizes(process.pid)):
                    peaks.note(name, sizes)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


def _sizes(pid: int) -> list[int]:
    """Return the proportional set sizes of a process and of all below it: pages that several have count once in all."""
    sizes = []
    try:
        leader = psutil.Process(pid)
        family = [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    for process in family:
        try:
            memory = process.memory_full_info()
        except psutil.Error:  # it has just gone
            continue
        sizes.append(getattr(memory, "pss", memory.uss))  # on Linux alone
    return sizes
