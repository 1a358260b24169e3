"""Sixteen clones push to one branch of one bare repository: commit, fetch, rebase, push, until it wins.

What a team does without a merge queue. The writers are threads that run git; each takes the next changeset.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Disproved, Figure, prove
from benchmarks.repos import Repo
from benchmarks.workload import Changeset, Workload

MOST = 2000  # changesets, more than any machine lands in the time given


@dataclass
class _Race:
    """What the writers share."""

    deadline: float
    todo: Iterator[Changeset]
    lock: threading.Lock = field(default_factory=threading.Lock)
    wins: list[float] = field(default_factory=list)
    pushes: int = 0

    def next(self) -> Changeset | None:
        """Return the next changeset, None when the race is over."""
        with self.lock:
            return next(self.todo, None) if time.perf_counter() < self.deadline else None

    def pushed(self, won: bool) -> None:
        """Note a push."""
        with self.lock:
            self.pushes += 1
            if won:
                self.wins.append(time.perf_counter())


def run(
    seed_repo: Repo, folder: Path, workload: Workload, *, seconds: float = 25.0, clones: int = 16, most: int = MOST
) -> Figure:
    """Race for `seconds`, or until `most` changesets have landed. Raises Disproved."""
    bare = seed_repo.copy(folder / "bare.git")
    base = bare.resolve("main")
    with ThreadPoolExecutor(clones) as pool:
        writers = list(pool.map(lambda i: clone(bare, folder / f"clone{i}"), range(clones)))
        most = min(most, workload.files // 4)
        changesets = list(workload.changesets(most))
        started = time.perf_counter()
        race = _Race(started + seconds, iter(changesets))
        for done in [pool.submit(_write, writer, race) for writer in writers]:
            done.result()
    if not race.wins:
        raise Disproved(f"git push race: no push won in {seconds:g} s, of {race.pushes}: give it more time")
    landed = _landed(bare, base)
    if len(set(landed)) != len(landed) or len(landed) != len(race.wins):
        raise Disproved(
            f"git push race: {len(race.wins)} pushes won, and {len(set(landed))} changesets are in the history"
        )
    expected = bare.expected_tree(base, [changesets[number] for number in landed])
    prove("git push race", bare.resolve("main^{tree}"), expected)
    spent = max(race.wins) - started
    details = {"landed": len(landed), "clones": clones, "pushes": race.pushes}
    return Figure(
        "git push race", f"{clones} clones, one branch", "landed/s", workload.seed, (len(landed) / spent,), details
    )


def clone(bare: Repo, path: Path, *options: str) -> Repo:
    """Return a clone for one writer, made with options of `git clone`."""
    bare.git("clone", "--quiet", "--local", *options, str(bare.path), str(path))
    writer = Repo(path)
    # Not the working tree: Git would take it for part of the project.
    writer.environ = bare.environ
    return writer


def _write(writer: Repo, race: _Race) -> None:
    while changeset := race.next():
        for path, content in changeset.files:
            (writer.path / path).write_bytes(content)
        writer.git("commit", "--quiet", "-m", str(changeset.number), "--", *[path for path, _ in changeset.files])
        while time.perf_counter() < race.deadline:
            writer.git("fetch", "--quiet", "origin")
            writer.git("rebase", "--quiet", "origin/main")
            won = push(writer)
            race.pushed(won)
            if won:
                break


def push(writer: Repo) -> bool:
    """Push; whether it won is asked of the answer, for losing is a matter of course here."""
    answer = writer.git("push", "--porcelain", "origin", "HEAD:refs/heads/main", check=False)
    return any(line.startswith((" \t", "*\t")) for line in answer.splitlines())


def _landed(bare: Repo, base: str) -> list[int]:
    """Return the numbers of the changesets in the history, as their messages say."""
    return [int(line) for line in bare.git("log", "--format=%s", f"{base}..main").splitlines()]
