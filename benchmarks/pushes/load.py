"""Clients that push commits which were made before, as Git does, without what Git does to make and to show a pack.

Each push is two requests on a connection of its own: what the server shows, and the pack. So the server is what is
measured, on a machine whose processors the clients share with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.gateway.wire.pkt_lines import FLUSH, pkt
from benchmarks.figures import Disproved
from benchmarks.load.connection import Connection, successful

_HEADERS = b"Content-Type: application/x-git-receive-pack-request\r\n"
_NOTHING = b"0" * 40


@dataclass(frozen=True)
class Packed:
    """A commit on the branch as it was at first, and the pack that brings it."""

    commit: bytes
    data: bytes


@dataclass
class Load:
    """What came of some pushes."""

    done: int = 0
    seconds: float = 0.0
    times: list[float] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        """Pushes a second."""
        return self.done / self.seconds


Target = Callable[[int, int], tuple[bytes, bytes]]
"""The ref to which a client pushes its n-th commit, and the options that it sends, each as a pkt-line."""


def once(address: tuple[str, int], path: str, packed: Packed, old: bytes, ref: bytes, options: bytes) -> None:
    """Push a commit. Raises Disproved where the ref is refused."""
    with Connection(address) as connection:
        successful(connection.ask(f"{path}/info/refs?service=git-receive-pack"))
        named = b" push-options" if options else b""
        command = b"%s %s %s\0report-status%s agent=git/2.39.5" % (old, packed.commit, ref, named)
        body = pkt(command) + FLUSH + (options + FLUSH if options else b"") + packed.data
        said = successful(connection.ask(f"{path}/git-receive-pack", body, _HEADERS, keeps=True)).body
    if b"ok " + ref not in said:
        raise Disproved(f"a push was refused: {said[:300]!r}")


def drive(address: tuple[str, int], path: str, commits: Sequence[Sequence[Packed]], target: Target) -> Load:
    """Have clients push their commits, one after the other. Raises Disproved."""
    load, lock = Load(), threading.Lock()
    failures: list[Exception] = []
    barrier = threading.Barrier(len(commits) + 1)

    def work(client: int) -> None:
        before = _NOTHING
        barrier.wait()
        for number, packed in enumerate(commits[client]):
            ref, options = target(client, number)
            began = time.monotonic()
            try:
                once(address, path, packed, before if not options else _NOTHING, ref, options)
            except Exception as failure:  # noqa: BLE001 - told by the caller
                failures.append(failure)
                return
            before = packed.commit
            with lock:
                load.done += 1
                load.times.append(time.monotonic() - began)

    threads = [threading.Thread(target=work, args=(client,)) for client in range(len(commits))]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    barrier.wait()
    for thread in threads:
        thread.join()
    load.seconds = time.monotonic() - began
    if failures:
        raise Disproved(f"{len(commits)} clients: {failures[0]}") from failures[0]
    return load
