"""Invariant 5: with locks and tickets switched off, two workers are slower and just as right."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from app.verify import verify
from storage.repository import Repository
from storage.settings import Settings
from tasks import merges
from tasks.commits import TooManyRaces, commit_batch
from tasks.merges import merge_batch
from tasks.upkeep import run as run_upkeep
from tests.support import World, item


@pytest.mark.parametrize("use_locks", [True, False], ids=["with-locks", "without-locks"])
def test_workers_at_once_decide_every_changeset_once(settings: Settings, use_locks: bool) -> None:
    settings = replace(settings, use_locks=use_locks, commit_changesets=4)
    world = World(Repository(settings))
    base = world.tip
    ids = []
    for i in range(12):
        stack = [item(world.all, {f"own{i}": b"1", "contended": b"%d" % i}, base)]
        stack += [item(world.all, {f"own{i}": b"%d" % n}, n - 1) for n in range(1, 4)]
        ids += world.submit(*stack)

    def work(_: int) -> None:
        repo = Repository(settings)
        while any(world.status(each) == "queued" for each in ids):
            with contextlib.suppress(TooManyRaces):
                commit_batch(repo)
                merge_batch(repo)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    world.work()
    statuses = [world.status(each) for each in ids]
    assert statuses.count("committed") == 4, "one of those who wanted the contended file, with its stack"
    assert statuses.count("conflicted") == 11 and statuses.count("rejected") == 33
    findings = verify(world.repo)
    assert not findings.differences and findings.changesets == 48


def test_a_merge_is_thrown_away_when_another_came_in_between(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(Repository(settings))
    world.put({"f": b"x"})
    commit_batch(world.repo)
    store_pack, other = merges.store_pack, Repository(replace(settings, use_locks=False))
    raced: list[int] = []

    def interrupted(*args):
        if not raced:
            raced.append(0)
            raced[0] = merge_batch(other)
        return store_pack(*args)

    monkeypatch.setattr(merges, "store_pack", interrupted)
    assert merge_batch(world.repo) == 0 and raced == [1]
    head = world.repo.view.head()
    assert head.merged == 1 and head.main_tree == head.root
    assert not verify(world.repo).differences


def test_doubled_ticks_are_harmless(settings: Settings) -> None:
    world = World(Repository(settings))
    changesets = [world.put({f"f{i}": b"x"}) for i in range(5)]
    repos = [Repository(settings) for _ in range(4)]

    def tick(repo: Repository) -> None:
        for _ in range(3):
            run_upkeep(repo)
            commit_batch(repo)
            merge_batch(repo)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tick, repos))
    world.work()
    assert [world.status(each) for each in changesets] == ["committed"] * 5
    findings = verify(world.repo)
    assert not findings.differences and findings.committed == 5
