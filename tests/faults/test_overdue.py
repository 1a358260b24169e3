"""What is never done within its time ends `rejected` and holds up nobody; slow servers are no changeset's fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.admin.verify import verify
from benchmarks.toxiproxy import Proxy
from storage.backends import deadline
from storage.backends.bucket import BucketError
from storage.backends.redis_client import UNAVAILABLE
from storage.base.settings import Settings
from storage.commit import batch
from storage.commit.batch import commit_batch
from storage.commit.link import Linked, Linker
from storage.commit.poison import Overdue
from storage.git.objects import EMPTY_TREE
from storage.log.manifest import Changeset
from storage.log.records import Decided
from storage.operations.slices import define
from storage.queue.append_lock import AppendLock
from storage.repository import Repository
from tests.support.failing_batches import more, until_rejected, work
from tests.support.waiting import await_true
from tests.support.world import World, item

BUDGET = 100.0
# A machine that has much else to do is no slow server.
NEVER_SLOW = 3600.0


class Clock:
    """The time as budgets see it: it leaps where something takes long, and a busy machine spends no whole budget."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def leap(self, seconds: float) -> None:
        with self._lock:
            self._ahead += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(deadline, "time", made)
    return made


@pytest.fixture
def world(settings: Settings, clock: Clock) -> World:
    return World(Repository(replace(settings, batch_budget=BUDGET, slow_call=NEVER_SLOW, poison_wait=3600.0)))


def never_links(
    monkeypatch: pytest.MonkeyPatch, world: World, clock: Clock, changesets: Sequence[str]
) -> list[list[str]]:
    """Make linking these go on for ever; returns the ids of each batch that was linked."""
    run = Linker.run
    linked: list[list[str]] = []

    def link(linker: Linker, batch: Sequence[Changeset]) -> Linked:
        linked.append([each.id for each in batch])
        while set(changesets) & set(linked[-1]):
            clock.leap(BUDGET / 10)
            world.repo.objects.tree(EMPTY_TREE)
        return run(linker, batch)

    monkeypatch.setattr(Linker, "run", link)
    return linked


def test_a_changeset_that_alone_exceeds_the_budget_is_rejected(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tip = world.tip
    before, late, after = world.submit(*[item(world.all, {path: b"1"}, tip) for path in "alb"])
    linked = never_links(monkeypatch, world, clock, [late])
    with pytest.raises(Overdue):
        commit_batch(world.repo)
    work(world, Overdue)
    assert [world.status(each) for each in (before, after)] == ["committed"] * 2, "they do not wait for its end"
    outcome = until_rejected(world, late, Overdue)
    assert (outcome.status, outcome.reason) == ("rejected", "poison")
    assert "3 times" in outcome.detail and "batch_budget" in outcome.detail
    assert [batch for batch in linked if late in batch] == [[before, late, after], [late], [late], [late]]
    world.work()
    assert not verify(world.repo).differences


def test_being_late_is_no_fault_while_nothing_else_is_committed(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = world.put({"l": b"1"})
    linked = never_links(monkeypatch, world, clock, [late])
    for _ in range(3):
        work(world, Overdue)
    assert world.status(late) == "queued" and len(linked) == 2, "it rests"
    monkeypatch.undo()
    more(world, 1)
    work(world)
    assert world.status(late) == "committed", "what it could not do then it does now"


def test_a_late_suspect_is_tried_with_the_ticket_held_against_others(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = world.put({"l": b"1"})
    taken: list[str] = []
    take = AppendLock.take
    monkeypatch.setattr(
        AppendLock, "take", lambda ticket, owner, timeout: (taken.append(owner), take(ticket, owner, timeout))
    )
    with monkeypatch.context() as slow:
        never_links(slow, world, clock, [late])
        work(world, Overdue)
    assert len(taken) == 2
    assert world.repo.redis.get(world.repo.view.prefix + "ticket") is None, "and nobody keeps it afterwards"


def test_a_batch_that_links_for_too_long_commits_what_it_has(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.submit(*[item(world.all, {f"f{i}": b"1"}, world.tip) for i in range(6)])
    outcome = Linker._decide

    def slowly(linker: Linker, changeset: Changeset) -> Decided | None:
        clock.leap(BUDGET / 5)
        return outcome(linker, changeset)

    monkeypatch.setattr(Linker, "_decide", slowly)
    first = commit_batch(world.repo).changesets
    assert 1 <= first < 6
    assert work(world, Overdue) == 0 and not world.repo.queue.length(), "and the others go on"


def test_a_changeset_whose_merges_never_fit_is_rejected_and_others_land(settings: Settings) -> None:
    # Without any time for merges, nothing that needs one can be decided.
    world = World(Repository(replace(settings, merge_budget=0.0, slow_call=NEVER_SLOW, poison_wait=3600.0)))
    lines = b"".join(b"%d\n" % i for i in range(9))
    world.put({"f": lines})
    world.work()
    base = world.tip
    world.put({"f": b"first\n" + lines})
    world.work()
    before, late, after = world.submit(
        item(world.all, {"a": b"1"}, base),
        item(world.all, {"f": lines + b"last\n"}, base),
        item(world.all, {"b": b"1"}, base),
    )
    assert commit_batch(world.repo).changesets == 2
    assert [world.status(each) for each in (before, after)] == ["committed"] * 2
    for number in range(10):
        work(world)
        found = world.repo.outcome(late)
        if found:
            break
        more(world, number)
    assert found and (found.status, found.reason) == ("rejected", "poison") and "merge_budget" in found.detail
    assert not verify(world.repo).differences


# --- slow servers -----------------------------------------------------------------------------------------------------

LATENCY = BUDGET / 3


class Slow:
    """A worker; each request to its store takes `latency` seconds of its budgets."""

    def __init__(self, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.repo = Repository(replace(settings, slow_call=LATENCY / 2, poison_wait=0.0))
        self.latency = 0.0
        urlopen = self.repo.bucket.s3.http.urlopen

        def slowly(*args: Any, **options: Any) -> Any:
            try:
                return urlopen(*args, **options)
            finally:
                clock.leap(self.latency)

        monkeypatch.setattr(self.repo.bucket.s3.http, "urlopen", slowly)


@pytest.fixture
def slow(world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Slow:
    return Slow(world.repo.settings, clock, monkeypatch)


def test_a_slow_store_is_no_reason_to_reject_a_changeset(world: World, slow: Slow) -> None:
    # One directory below another is read after it: at this latency all of them do not fit into the budget.
    deep = "/".join(f"d{i}" for i in range(40)) + "/f"
    world.put({deep: b"1"})
    world.work()
    late = world.put({deep: b"2"})
    slow.latency = LATENCY
    shared = world.repo.view.prefix + "object:*"
    for number in range(4):
        # The copies in Redis would make it quick.
        for key in world.repo.redis.scan_iter(shared):
            world.repo.redis.delete(key)
        slow.repo.objects._cache.clear()
        with pytest.raises(UNAVAILABLE):
            commit_batch(slow.repo)
        assert world.repo.redis.hget(f"{world.repo.view.prefix}work:{late}", "deaths") is None, "nor suspected"
        commits_beside_it(world, number)
    slow.latency = 0.0
    assert commit_batch(slow.repo).changesets == 1 and world.status(late) == "committed"
    assert not verify(world.repo).differences


def commits_beside_it(world: World, number: int) -> None:
    """Have an entry appended without trying what is queued."""
    before = world.repo.view.head().applied
    define(world.repo, f"beside{number}", [f"beside{number}/"])
    assert world.repo.view.head().applied > before


def test_a_store_that_is_too_slow_for_a_batch_gets_smaller_ones(
    world: World, slow: Slow, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = world.submit(*[item(world.all, {f"f{i}": b"1"}, world.tip) for i in range(4)])
    request = slow.repo.bucket.s3.http.request

    def slowly(method: str, url: str, **options: Any) -> Any:
        if method == "PUT" and "/packs/" in url and url.endswith(".pack"):
            changesets = options["body"][11] // 2  # of each a tree and a commit
            clock.leap(LATENCY * changesets)
        return request(method, url, **options)

    monkeypatch.setattr(slow.repo.bucket.s3.http, "request", slowly)
    failed = 0
    while world.repo.queue.length():
        try:
            commit_batch(slow.repo)
        except UNAVAILABLE:
            failed += 1
        assert failed < 10, "it is tried with fewer each time"
    assert failed >= 1 and [world.status(each) for each in ids] == ["committed"] * 4


def test_a_server_that_is_away_is_no_changesets_fault_however_long(
    world: World, clock: Clock, new_proxy: Callable[[str], Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = new_proxy(urlsplit(world.repo.settings.endpoints[0]).netloc)
    behind = replace(world.repo.settings, s3_endpoints=f"http://{proxy.address}", s3_timeout=1.0)
    slow = Slow(behind, clock, monkeypatch)
    ids = world.submit(*[item(world.all, {f"f{i}": b"1"}, world.tip) for i in range(3)])
    proxy.add("timeout", timeout=0)
    slow.latency = BUDGET
    for number in range(3):
        with pytest.raises(UNAVAILABLE):
            commit_batch(slow.repo)
        commits_beside_it(world, number)
    proxy.heal()
    slow.latency = 0.0

    def all_are_decided() -> bool:
        with suppress(UNAVAILABLE):  # a busy machine may need more than so short a time-out
            commit_batch(slow.repo)
        return not world.repo.queue.length()

    await_true(all_are_decided)
    assert [world.status(each) for each in ids] == ["committed"] * 3


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_what_takes_more_than_there_is_counts_like_any_failure(
    world: World, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    poison, neighbour = world.submit(*[item(world.all, {path: b"1"}, world.tip) for path in "pa"])
    run = Linker.run

    def link(linker: Linker, batch: Sequence[Changeset]) -> Linked:
        if any(each.id == poison for each in batch):
            raise error
        return run(linker, batch)

    monkeypatch.setattr(Linker, "run", link)
    outcome = until_rejected(world, poison, error)
    assert outcome.reason == "poison" and error.__name__ in outcome.detail
    assert world.status(neighbour) == "committed"


def test_a_bucket_error_in_time_is_no_lateness(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    changeset = world.put({"a": b"1"})

    def broken(*args: object) -> None:
        raise BucketError("broken")

    with monkeypatch.context() as away:
        away.setattr(batch, "read_changesets", broken)
        for _ in range(5):
            with pytest.raises(BucketError):
                commit_batch(world.repo)
    assert world.repo.redis.zcard(world.repo.view.prefix + "suspects") == 0
    assert commit_batch(world.repo).changesets == 1 and world.status(changeset) == "committed"
