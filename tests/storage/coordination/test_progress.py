"""How a queued changeset gets on: the rate of its slice's queue, and which later ones were decided before it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.base.ids import ChangesetId
from storage.base.settings import Settings
from storage.commit import commit_batch
from storage.coordination.progress import Progress, progress_of
from storage.operations.lifecycle import release
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.compaction import aged_world, compacted
from tests.support.world import World, item


@pytest.fixture
def world(settings: Settings) -> World:
    """Each batch is one changeset."""
    return World(Repository(replace(settings, commit_changesets=1, max_commit_changesets=1)))


def counted(world: World) -> tuple[int, int, int]:
    """The time of the last batch (ms; 0: nothing waits), and in how many ms how many were decided before it."""
    text = world.repo.redis.get(f"{world.repo.view.prefix}throughput:{world.all.id}") or b"0 0 0"
    last, busy, count = map(int, text.split())
    return last, busy, count


def count(world: World, last: int, busy: int, decided: int) -> None:
    """Have Redis know that."""
    world.repo.redis.set(f"{world.repo.view.prefix}throughput:{world.all.id}", f"{last} {busy} {decided}")


def how(world: World, changeset: ChangesetId) -> Progress:
    return progress_of(world.repo.view, world.all.id, changeset)


def puts(world: World, count: int) -> list[ChangesetId]:
    return [world.put({f"f{i}": b"1"}, world.tip) for i in range(count)]


def test_nothing_is_known_before_the_second_batch_of_a_queue(world: World) -> None:
    ids = puts(world, 4)
    assert [how(world, each).position for each in ids] == [0, 1, 2, 3]
    assert how(world, ids[3]).seconds is None
    commit_batch(world.repo)
    assert (how(world, ids[3]).position, how(world, ids[3]).seconds) == (2, None), "when did its work begin?"
    commit_batch(world.repo)
    now = how(world, ids[3])
    assert (now.position, now.decided) == (1, 1) and now.seconds == 2 * now.over > 0
    assert how(world, ids[3]).over >= now.over, "a queue that stands still is slower each moment"


def test_time_without_work_does_not_count(world: World) -> None:
    puts(world, 3)
    for _ in range(3):
        commit_batch(world.repo)
    last, busy, decided = counted(world)
    assert (last, decided) == (0, 2) and busy > 0
    other = world.put({"g": b"1"}, world.tip)
    assert (how(world, other).over, how(world, other).decided) == (busy / 1000, 2)
    commit_batch(world.repo)
    assert counted(world) == (0, busy, 2), "it was there alone: nobody knows when its work began"


def test_what_was_decided_long_ago_counts_for_less(world: World) -> None:
    now = int(world.repo.redis.time()[0] * 1000)
    puts(world, 2)
    count(world, now - 1000, 100_000, 99)
    commit_batch(world.repo)
    _, busy, decided = counted(world)
    assert decided == 50 and 50_000 < busy < 100_000


def test_a_clock_that_went_back_makes_no_negative_time(world: World) -> None:
    ahead = int((world.repo.redis.time()[0] + 3600) * 1000)
    ids = puts(world, 2)
    count(world, ahead, 500, 9)
    assert how(world, ids[1]).seconds == 2 * 0.5 / 9
    commit_batch(world.repo)
    last, busy, decided = counted(world)
    assert (busy, decided) == (500, 10) and last < ahead


@pytest.mark.parametrize("text", ["", "x", "1 2", "-1 2 3", "1 2 3 4"])
def test_what_cannot_be_read_counts_as_nothing(world: World, text: str) -> None:
    [changeset] = puts(world, 1)
    world.repo.redis.set(f"{world.repo.view.prefix}throughput:{world.all.id}", text)
    assert how(world, changeset).seconds is None


def test_later_ones_that_were_decided_before_it_are_counted(world: World) -> None:
    world.put({"before": b"1"}, world.tip)
    commit_batch(world.repo)
    [held] = world.submit(item(world.all, {"held": b"1"}, world.tip, hold=True))
    base = world.tip
    later = [world.put({f"f{i}": b"1"}, base) for i in range(3)]
    for _ in later:
        commit_batch(world.repo)
    conflicted = world.put({"f0": b"2"}, base)
    commit_batch(world.repo)
    assert world.status(conflicted) == "conflicted"
    release(world.repo, held)
    now = how(world, held)
    assert (now.position, now.passed, now.complete) == (0, 4, True)
    assert now.passed_by == [conflicted, *reversed(later)], "the newest first, whatever became of them"
    other = world.put({"g": b"1"}, world.tip)
    assert how(world, other).passed == 0


def test_a_count_that_is_not_whole_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    [held] = world.submit(item(world.all, {"held": b"1"}, world.tip, hold=True))
    later = puts(world, 3)
    for _ in later:
        commit_batch(world.repo)
    release(world.repo, held)
    monkeypatch.setattr("storage.coordination.progress._LOOK", 2)
    monkeypatch.setattr("storage.coordination.progress._SHOWN", 1)
    now = how(world, held)
    assert (now.passed, now.passed_by, now.complete) == (2, [later[2]], False)
    monkeypatch.undo()
    assert how(world, held).complete


def test_what_is_archived_is_not_counted_and_that_is_told(world: World) -> None:
    [held] = world.submit(item(world.all, {"held": b"1"}, world.tip, hold=True))
    puts(world, 2)
    world.work()
    aged = aged_world(world)
    run_upkeep(aged.repo)
    compacted(aged)
    assert aged.repo.view.head().archived
    release(world.repo, held)
    now = how(world, held)
    assert (now.passed, now.complete) == (0, False)
