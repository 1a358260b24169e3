"""Invariant 5: with locks and tickets switched off, two workers are slower and just as right."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from threading import Event
from time import sleep
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.admin.verify import verify
from storage.base.ids import ChangesetId, new_ulid
from storage.base.settings import Settings
from storage.commit import append_loop, global_merge
from storage.commit.append_loop import LogBusy
from storage.commit.batch import commit_batch
from storage.commit.global_merge import merge_batch
from storage.log.log import follow
from storage.maintenance.rebuild import rebuild
from storage.operations import lifecycle
from storage.operations.lifecycle import abandon, release
from storage.operations.slices import SliceExists, define
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.dying import Died
from tests.support.interruptions import after_next, before_next
from tests.support.world import World, item


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
            with contextlib.suppress(LogBusy):
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
    store_pack, other = global_merge.store_pack, Repository(replace(settings, use_locks=False))
    raced: list[int] = []

    def interrupted(*args):
        if not raced:
            raced.append(0)
            raced[0] = merge_batch(other).changesets
        return store_pack(*args)

    monkeypatch.setattr(global_merge, "store_pack", interrupted)
    assert merge_batch(world.repo).changesets == 0 and raced == [1]
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


@pytest.mark.parametrize("write", [commit_batch, merge_batch, lambda repo: define(repo, "web", ["web/"])])
def test_an_append_that_never_gets_a_position_is_busy_and_loses_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, write: Callable[[Repository], object]
) -> None:
    world = World(Repository(settings))
    first = world.put({"f": b"x"})
    commit_batch(world.repo)
    second = world.put({"g": b"x"})
    with monkeypatch.context() as always_late:
        always_late.setattr(append_loop, "MAX_ATTEMPTS", 3)
        always_late.setattr(world.repo.log, "append", lambda seq, data: False)
        with pytest.raises(LogBusy):
            write(world.repo)
    world.work()
    assert (world.status(first), world.status(second)) == ("committed", "committed")
    assert world.repo.view.head().merged == 2


@pytest.mark.parametrize("dies", [False, True])
def test_upkeep_applies_what_nobody_else_will(settings: Settings, monkeypatch: pytest.MonkeyPatch, dies: bool) -> None:
    settings = replace(settings, lock_ttl=2.0 if dies else 60.0)
    world, other = World(Repository(settings)), Repository(settings)
    changeset = world.put({"a": b"1"})
    appended, apply = Event(), other.view.apply

    def late(*args: Any, **more: Any) -> None:
        appended.set()
        sleep(0.5)
        if dies:
            raise Died
        apply(*args, **more)

    monkeypatch.setattr(other.view, "apply", late)
    if dies:
        monkeypatch.setattr(other.append_lock, "release", lambda owner: None)
    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(commit_batch, other)
        assert appended.wait(60)
        with capture_logs() as events:
            run_upkeep(world.repo)
        assert isinstance(batch.exception(), Died) if dies else batch.result().changesets == 1
    assert ("view_caught_up" in {event["event"] for event in events}) is dies
    assert world.status(changeset) == "committed"


def load_behind(settings: Settings, applied: int) -> None:
    """Publish a view that was loaded when the log reached `applied`, as one does that reads while others append."""
    repo, epoch = Repository(settings), new_ulid()
    before = repo.view.epoch()
    repo.view.begin_loading(epoch, before)
    for entry, entry_hash in islice(follow(repo.log.read_from(1)), applied):
        repo.view.apply(epoch, entry, entry_hash, published=False)
    assert before and repo.view.publish(before, epoch)
    repo.view.drop(before)


def test_a_name_is_defined_once_though_the_view_is_rebuilt_in_between(settings: Settings) -> None:
    world = World(Repository(settings))
    view, epoch = world.repo.view, world.repo.view.epoch()
    define(world.repo, "web", ["web/"])
    # The key that was asked for is that of an epoch that is gone when it is read.
    after_next(view, "key", lambda: rebuild(Repository(settings), view.epoch(), lambda _: None))
    with pytest.raises(SliceExists):
        define(world.repo, "web", ["other/"])
    assert view.epoch() != epoch
    assert view.head().applied == len(list(world.repo.log.read_from(1)))
    assert sum(b'"name":"web"' in data for _, data in world.repo.log.read_from(1)) == 1


@pytest.mark.parametrize("again", [abandon, release])
def test_nothing_is_logged_twice_though_an_older_view_is_published(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, again: Callable[[Repository, ChangesetId], None]
) -> None:
    world = World(Repository(settings))
    same, held = item(world.all, {"f": b"x"}, world.tip), item(world.all, {"g": b"x"}, world.tip, hold=True)
    world.put({"f": b"y"})
    conflicted, waits = world.submit(same, held)
    world.work()
    assert (world.status(conflicted), world.status(waits)) == ("conflicted", "queued")
    changeset = conflicted if again is abandon else waits
    applied = world.repo.view.head().applied
    with monkeypatch.context() as dying:
        dying.setattr(lifecycle, "_queue", lambda repo, changeset: 0)  # whoever released it dies before that
        again(world.repo, changeset)
    written = len(list(world.repo.log.read_from(1)))
    assert written == applied + 1
    view, queue, epoch = world.repo.view, world.repo.queue, world.repo.view.epoch()
    # Between its snapshot and its question to the queues.
    before_next(view, "snapshot", lambda: before_next(queue, "states", lambda: load_behind(settings, applied)))
    again(world.repo, changeset)
    assert view.epoch() != epoch
    assert len(list(world.repo.log.read_from(1))) == written
