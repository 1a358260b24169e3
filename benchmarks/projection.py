"""How fast clone stores follow the log: a whole history, that of one slice, from a checkpoint, one commit at a time.

A stack lands the changesets as usual. Then stores are made on empty disks, as a gateway that begins makes them, with
nothing in memory. The tree of each store must be the one of its paths in the landed tree, and a store from a checkpoint
must have the ids of one that followed the log.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Disproved, Figure, percentiles, prove
from benchmarks.landing import Phase, Say, Site, site
from benchmarks.workload import Workload
from storage.base.ids import oid_of
from storage.base.settings import Settings
from storage.clones.clone import Clone
from storage.clones.clones import Clones
from storage.git.run_git import Git, isolated_environment
from storage.git.trees import project
from storage.repository import Repository
from storage.view.snapshot import Slice

PHASE = Phase("projection", 4, 500, 5000)
ALONE = Phase("projection, one at a time", 1, 1, 1, until_landed=True)


def run(
    workload: Workload, folder: Path, say: Say, *, changesets: int = 10_000, single: int = 100, s3: str = "auto"
) -> list[Figure]:
    """Land so many changesets, and measure; then `single` ones, each followed. Raises Refused and Disproved."""
    with site(workload, folder / "judge.git", say, s3=s3, with_flower=False) as bench:
        runs = bench.land_many(PHASE, workload, changesets, say)
        # Checkpoints are made when they are asked for.
        measure = _Measure(
            bench, workload, folder, say, dataclasses.replace(bench.stack.settings, clone_checkpoint_commits=0)
        )
        name = next(iter(workload.slices()))
        figures = [*measure.cold("the whole", None), *measure.cold("one slice", name)]
        figures += measure.one_by_one(name, single, runs)
    return figures


@dataclasses.dataclass
class _Measure:
    bench: Site
    workload: Workload
    folder: Path
    say: Say
    settings: Settings

    def cold(self, what: str, name: str | None) -> Iterator[Figure]:
        """Yield what it takes to make a store on an empty disk: from the log, and from a checkpoint."""
        self.say(f"projection, {what}: from the log")
        followed, seconds, cpu = self._made(f"{what}, log", name)
        commits = followed._table.count()
        chain = Repository(self.settings).view.head().merged
        axis = f"{commits:,} commits of {chain:,} of the chain"
        seed = self.workload.seed
        details = {"clones": True, "commits": commits, "chain": chain, "seconds": seconds, "cpu_seconds": cpu}
        yield Figure(f"projection, {what}", axis, "of the chain/s", seed, (chain / seconds,), details)
        with_checkpoints = dataclasses.replace(self.settings, clone_checkpoint_commits=1)
        store = _clone(with_checkpoints, self.folder / f"{what}, log", name)
        store.catch_up()
        store.keep()
        self.say(f"projection, {what}: from a checkpoint")
        restored, seconds, cpu = self._made(f"{what}, checkpoint", name)
        if _main(restored) != _main(followed):
            raise Disproved(f"from a checkpoint the newest commit is {_main(restored)}, it is {_main(followed)}")
        details = {"clones": True, "commits": commits, "cpu_seconds": cpu, "bytes": _bytes(restored)}
        yield Figure(f"projection, {what}, from a checkpoint", axis, "seconds", seed, (seconds,), details)

    def _made(self, folder: str, name: str | None) -> tuple[Clone, float, float]:
        started, cpu = time.monotonic(), sum(os.times()[:4])
        clone = _clone(self.settings, self.folder / folder, name)
        reached = clone.catch_up()
        seconds, cpu = time.monotonic() - started, sum(os.times()[:4]) - cpu
        self._prove(clone, reached)
        clone.wait()
        return clone, seconds, cpu

    def _prove(self, clone: Clone, reached: int) -> None:
        repo = Repository(self.settings)
        head = repo.view.head()
        if reached < head.applied or head.pending:
            raise Disproved(f"a store has reached entry {reached} of {head.applied}")
        root = oid_of(head.main_tree)
        expected = project(repo.objects.tree, root, clone.slice.paths)[0] if clone.slice else root
        prove("a clone store", _git(clone, "rev-parse", "main^{tree}"), expected.hex())

    def one_by_one(self, name: str, count: int, first_run: int) -> Iterator[Figure]:
        """Yield what a catch-up of one landed changeset takes, where it is the slice's own and where it is not."""
        clone = _clone(self.settings, self.folder / "one by one", name)
        clone.catch_up()
        own: list[float] = []
        other: list[float] = []
        for changeset in self.workload.changesets(self.workload.files // 2, run=first_run):
            times = own if changeset.slice == name else other
            if len(times) < count:
                self.say(f"projection, one at a time: {len(own) + len(other):,} of {2 * count:,} done")
                self.bench.land(ALONE, [changeset])
                started = time.monotonic()
                reached = clone.catch_up()
                times.append(time.monotonic() - started)
                clone.wait()
            if len(own) == len(other) == count:
                break
        self._prove(clone, reached)
        for what, times in (("of the slice", own), ("of another one", other)):
            axis = f"{len(times)} landed changesets, each followed by a catch-up"
            details = {"clones": True, "ms": percentiles(times)}
            rounds = tuple(1000 * value for value in times)
            yield Figure(f"catch-up of one changeset {what}", axis, "ms", self.workload.seed, rounds, details)


def _clone(settings: Settings, folder: Path, name: str | None) -> Clone:
    """Return a store as a new process has it."""
    repo = Repository(dataclasses.replace(settings, clone_wait=3600.0))
    clones = Clones(repo, folder)
    if name is None:
        return clones.whole()
    found: Slice | None = repo.view.slice(name)
    if found is None:
        raise Disproved(f"there is no slice {name}")
    return clones.of_slice(found)


def _git(clone: Clone, *arguments: str) -> str:
    return Git(environment=isolated_environment(clone.path)).output(*arguments).decode().strip()


def _main(clone: Clone) -> str:
    return _git(clone, "rev-parse", "main")


def _bytes(clone: Clone) -> int:
    return sum(file.stat().st_size for file in (clone.path / "objects" / "pack").iterdir())
