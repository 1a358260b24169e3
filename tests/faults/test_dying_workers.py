"""Invariants 2 to 5: a worker may die at any step, and every changeset still has exactly one outcome."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.admin.verify import verify
from storage.backends.bucket import Bucket, Created
from storage.base.settings import Settings
from storage.commit.batch import commit_batch
from storage.commit.global_merge import merge_batch
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.dying import Died, Dying
from tests.support.world import World, item

# More calls than a batch makes; the test ends at the first run that outlives its limit.
MOST_CALLS = 60


@pytest.fixture
def world(settings: Settings) -> World:
    # Locks of the dead expire at once, so that the next worker need not wait for them.
    return World(Repository(replace(settings, lock_ttl=0.001)))


def recovered(world: World) -> World:
    """Return the world as other processes find it: nothing in memory, upkeep has run, all work is done."""
    again = world.reopened()
    run_upkeep(again.repo)
    again.work()
    return again


@pytest.mark.parametrize("after", [False, True], ids=["before-the-call", "with-its-answer-lost"])
def test_death_at_any_call_of_a_commit_loses_and_repeats_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    dying = Dying(monkeypatch)
    outlived = False
    for at in range(1, MOST_CALLS):
        base = world.tip
        ids = world.submit(
            item(world.all, {f"d{at}/a": b"1", "same": b"%d" % at}, base),
            item(world.all, {f"d{at}/a": b"2"}, 0),
            item(world.all, {"same": b"conflicts"}, base),
        )
        fresh = world.reopened()
        dying.arm(at, after)
        try:
            merge_batch(fresh.repo, commit_batch(fresh.repo).merge)  # as the task does where nothing else is queued
            outlived = True
        except Died:
            pass
        dying.arm(0)
        world = recovered(world)
        assert [world.status(each) for each in ids] == ["committed", "committed", "conflicted"], dying.trail
        if outlived:
            break
    assert outlived and at > 12, "the batch and its merge were cut at each of their calls"
    findings = verify(world.repo)
    assert not findings.differences and findings.committed == 2 * at


@pytest.mark.parametrize("after", [False, True], ids=["before-the-call", "with-its-answer-lost"])
def test_death_at_any_call_of_a_merge_loses_and_repeats_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    dying = Dying(monkeypatch)
    outlived = False
    for at in range(1, MOST_CALLS):
        world.put({f"f{at}": b"x"})
        commit_batch(world.repo)
        dying.arm(at, after)
        try:
            merge_batch(Repository(world.repo.settings))
            outlived = True
        except Died:
            pass
        dying.arm(0)
        world = recovered(world)
        head = world.repo.view.head()
        assert head.pending == 0 and head.main_tree == head.root
        if outlived:
            break
    assert outlived and at > 3
    assert not verify(world.repo).differences


def test_an_entry_that_was_written_though_its_put_timed_out_counts_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Bucket.create
    lost: list[str] = []

    def answers_late(bucket: Bucket, name: str, data: bytes) -> Created:
        won = create(bucket, name, data)
        if name.startswith("log/") and not lost:
            lost.append(name)
            return create(bucket, name, data)  # the client timed out and asked again: 412
        return won

    changeset = world.put({"f": b"x"})
    monkeypatch.setattr(Bucket, "create", answers_late)
    commit_batch(world.repo)
    assert lost and world.status(changeset) == "committed"
    world.work()
    findings = verify(world.repo)
    assert not findings.differences and findings.committed == 1


def test_an_entry_that_its_dead_writer_never_applied_is_found_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = Dying(monkeypatch)
    first = world.put({"f": b"x"})
    commit_batch(world.repo)
    second = world.put({"g": b"x"})
    dying.arm_on("log/")
    with pytest.raises(Died):
        commit_batch(Repository(world.repo.settings))
    dying.arm(0)
    assert world.status(second) == "queued", "it is in the log, and the view does not know"
    third = world.put({"h": b"x"})
    world.work()
    assert [world.status(each) for each in (first, second, third)] == ["committed"] * 3
    assert not verify(world.repo).differences
