"""Many pushers at once with plain Git: one commit each, until it has landed."""

from __future__ import annotations

import math
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Disproved
from storage.base.settings import Settings, environment

_MOST_TRIES = 1000


@dataclass(frozen=True)
class Crowd:
    """What came of pushers who were there at once."""

    seconds: float
    pushes: Sequence[int]  # of each pusher, until its commit had landed
    landed: Sequence[bool]  # of each pusher, whether it had within the time

    @property
    def per_s(self) -> float:
        """How many landed a second."""
        return sum(self.landed) / self.seconds


@dataclass(frozen=True)
class Pusher:
    """A clone with a commit, and how its conflict is resolved where it meets one."""

    clone: Path
    files: Mapping[str, bytes]


def git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run Git in a folder."""
    return subprocess.run(["git", "-C", str(folder), *arguments], env=_environment(), capture_output=True, check=False)


def must(folder: Path, *arguments: str) -> str:
    """Run Git, which has to succeed. Raises Disproved."""
    done = git(folder, *arguments)
    if done.returncode:
        raise Disproved(f"git {' '.join(arguments)}: {done.stderr.decode(errors='replace')[-300:]}")
    return done.stdout.decode().strip()


def clones(url: str, folder: Path, files: Sequence[Mapping[str, bytes]]) -> list[Pusher]:
    """Return clones of one clone, each with a commit of its files."""
    folder.mkdir(parents=True)
    must(folder, "clone", "-q", url, "first")
    made = []
    for number, own in enumerate(files):
        clone = folder / f"pusher{number}"
        shutil.copytree(folder / "first", clone, symlinks=True)
        for name, content in own.items():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes(content)
        must(clone, "add", "-A", ".")
        must(clone, "commit", "-q", "-m", f"Change {number}\n\nChange-Id: I{number:040x}")
        made.append(Pusher(clone, own))
    return made


def rush(pushers: Sequence[Pusher], ref: str, most: float = math.inf) -> Crowd:
    """Have all push at once to a ref until they have landed, or have tried for `most` seconds. Raises Disproved."""
    barrier = threading.Barrier(len(pushers) + 1)

    def work(pusher: Pusher) -> tuple[int, bool]:
        barrier.wait()
        return until_landed(pusher, ref, time.monotonic() + most)

    with ThreadPoolExecutor(len(pushers)) as pool:
        running = [pool.submit(work, pusher) for pusher in pushers]
        barrier.wait()
        began = time.monotonic()
        made = [each.result() for each in running]
    return Crowd(time.monotonic() - began, [pushes for pushes, _ in made], [landed for _, landed in made])


def until_landed(pusher: Pusher, ref: str, until: float = math.inf) -> tuple[int, bool]:
    """Push to a ref, again after a `pull --rebase`, where it resolves, as long as it is refused, and up to a time.

    Returns how many pushes it took, and whether it has landed. Raises Disproved.
    """
    for count in range(1, _MOST_TRIES):
        if git(pusher.clone, "push", "-q", "origin", f"HEAD:{ref}").returncode == 0:
            return count, True
        if time.monotonic() > until:
            return count, False
        if git(pusher.clone, "pull", "-q", "--rebase", "origin", "main").returncode:
            _resolve(pusher)
    raise Disproved(f"a pusher was refused {_MOST_TRIES} times")


def _resolve(pusher: Pusher) -> None:
    for name, content in pusher.files.items():
        (pusher.clone / name).write_bytes(content)
    must(pusher.clone, "add", "-A", ".")
    must(pusher.clone, "-c", "core.editor=true", "rebase", "--continue")


def _environment() -> Mapping[str, str]:
    who = {f"GIT_{role}_{what}": text for role in ("AUTHOR", "COMMITTER") for what, text in
           (("NAME", "B"), ("EMAIL", "b@example.org"))}  # fmt: skip
    return environment(
        Settings(),
        {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0", **who},
    )
