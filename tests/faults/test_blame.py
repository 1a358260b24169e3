"""What is away for a moment, or wrong with the log, is no changeset's fault; what the store lost for good is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import structlog

from storage.backends.bucket import Bucket, Missing
from storage.base.errors import LogForked, LogUnreadable, Unavailable
from storage.base.settings import Settings
from storage.commit.batch import commit_batch
from storage.commit.global_merge import merge_batch
from storage.log.log import name_of
from storage.queue.queue import Queue
from storage.repository import Repository
from storage.view.view import View
from tasks import commits, merges, notify
from tasks.upkeep import run as run_upkeep
from tests.support.failing_batches import until_rejected
from tests.support.world import World, item


class Died(BaseException):
    """The worker is gone."""


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(replace(settings, lock_ttl=0.3, poison_wait=3600.0)))


def submitted(world: World) -> list[Any]:
    return [*world.submit(*[item(world.all, {path: b"1"}, world.tip) for path in "abc"])]


def suspects(world: World) -> list[bytes]:
    return world.repo.redis.zrange(world.repo.view.prefix + "suspects", 0, -1)  # type: ignore[no-any-return]


def away_once(monkeypatch: pytest.MonkeyPatch, wanted: Callable[[str], bool]) -> list[str]:
    """Let the bucket have none of such a name, the first time that one is asked for."""
    get, missed = Bucket.get, list[str]()

    def once(bucket: Bucket, name: str) -> bytes:
        if wanted(name) and not missed:
            missed.append(name)
            raise Missing(name)
        return get(bucket, name)

    monkeypatch.setattr(Bucket, "get", once)
    return missed


def append_unapplied(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit one change, and die before the view has its entry."""
    world.put({"f": b"1"})
    with monkeypatch.context() as dying:
        dying.setattr(View, "apply", lambda *_, **__: (_ for _ in ()).throw(Died))
        with pytest.raises(Died):
            commit_batch(world.repo)


def forked(world: World) -> None:
    """Have the log continue, behind the view, with an entry that does not follow the view's last one."""
    head = world.repo.view.head()
    entry = json.loads(world.repo.log.read(head.applied) or b"") | {"seq": head.applied + 1, "previous": "0" * 64}
    assert world.repo.bucket.create(name_of(head.applied + 1), json.dumps(entry).encode())


def replace_object(world: World, name: str, data: bytes) -> None:
    world.repo.bucket.delete(name)
    assert world.repo.bucket.create(name, data)


def test_an_index_that_is_away_for_a_moment_makes_nobody_a_suspect(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_unapplied(world, monkeypatch)
    ids = submitted(world)
    missed = away_once(monkeypatch, lambda name: name.endswith(".idx"))
    with pytest.raises(Unavailable):
        commit_batch(world.repo)
    assert missed and suspects(world) == []
    world.work()
    assert [world.status(each) for each in ids] == ["committed"] * 3 and suspects(world) == []


def test_a_damaged_index_stops_all_and_makes_nobody_a_suspect(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    append_unapplied(world, monkeypatch)
    ids = submitted(world)
    name = max(name for name in world.repo.bucket.list_keys("packs/") if name.endswith(".idx"))
    whole = world.repo.bucket.get(name)
    replace_object(world, name, whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(LogUnreadable, match=name):
        commit_batch(world.repo)
    with structlog.testing.capture_logs() as logged, pytest.raises(LogUnreadable):
        run_upkeep(world.repo)
    assert [line["log_level"] for line in logged if line["event"] == "log_unreadable"] == ["error"]
    replace_object(world, name, whole)
    assert suspects(world) == []
    world.work()
    assert [world.status(each) for each in ids] == ["committed"] * 3


def test_a_submission_pack_that_is_briefly_away_makes_no_suspect(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = submitted(world)
    monkeypatch.setattr(Queue, "manifests", lambda _, wanted: [None] * len(wanted))
    missed = away_once(monkeypatch, lambda name: name.startswith("inbox/"))
    with pytest.raises(Unavailable):
        commit_batch(world.repo)
    assert missed and suspects(world) == []
    assert commit_batch(world.repo).changesets == 3
    assert [world.status(each) for each in ids] == ["committed"] * 3


def test_a_submission_pack_that_is_lost_does_not_stop_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = world.put({"p": b"1"})
    [pack] = [name for name in world.repo.bucket.list_keys("inbox/") if lost in name]
    ids = submitted(world)
    monkeypatch.setattr(Queue, "manifests", lambda _, wanted: [None] * len(wanted))
    world.repo.bucket.delete(pack)
    outcome = until_rejected(world, lost, Exception)
    assert (outcome.status, outcome.reason) == ("rejected", "poison")
    assert [world.status(each) for each in ids] == ["committed"] * 3


def test_commits_and_merges_wait_on_a_forked_log_until_upkeep_has_loaded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for tasks in (commits, merges):
        monkeypatch.setattr(tasks, "repository", lambda: world.repo)
    monkeypatch.setattr(notify, "send", lambda app, task, token=None: asked.append(task))
    monkeypatch.setattr(notify, "_ASK_PAUSE", 60_000)
    world.put({"f": b"1"})
    assert commit_batch(world.repo).changesets == 1
    ids = submitted(world)
    forked(world)
    for batch in (commit_batch, merge_batch):
        with pytest.raises(LogForked):
            batch(world.repo)
    assert suspects(world) == []
    with structlog.testing.capture_logs() as logged:
        commits.commit.run()
        merges.merge.run()
    names = [each["event"] for each in logged]
    assert "commit_deferred" in names and "merge_waits" in names and "task_failed" not in names
    assert asked.count("sluice.upkeep") == 1, "whoever meets it first"
    world.repo.bucket.delete(name_of(world.repo.view.head().applied + 1))
    run_upkeep(world.repo)
    world.work()
    assert [world.status(each) for each in ids] == ["committed"] * 3
