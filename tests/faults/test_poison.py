"""A changeset that kills its worker, or fails every batch, ends `rejected`; its neighbours are not blamed for it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from app.admin.verify import verify
from storage.backends.bucket import Bucket, BucketError
from storage.base.ids import ChangesetId, new_ulid
from storage.base.settings import Settings
from storage.commit import batch, prefetch
from storage.commit.batch import commit_batch
from storage.commit.link import Linked, Linker
from storage.coordination import new_owner
from storage.log.entry import decode
from storage.log.manifest import Changeset
from storage.operations.slices import define
from storage.queue.submission_packs import read_changesets
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.failing_batches import more, until_rejected, work
from tests.support.redis_rows import flush
from tests.support.waiting import await_true
from tests.support.world import World, item


class Bad(Exception):
    """What processing the poison raises."""


class Died(BaseException):
    """The worker is gone: nothing of its batch is given back."""


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(replace(settings, lock_ttl=0.3, poison_wait=3600.0)))


def reads(monkeypatch: pytest.MonkeyPatch, poison: list[str], error: type[BaseException] = Bad) -> list[list[str]]:
    """Make reading the changesets in `poison` fail; returns the ids of each batch that was read."""
    tried: list[list[str]] = []

    def read(bucket: object, queue: object, wanted: Sequence[tuple[ChangesetId, object]]) -> list[Changeset]:
        tried.append([each for each, _ in wanted])
        if set(poison) & set(tried[-1]):
            raise error("it is bad")
        return read_changesets(bucket, queue, wanted)  # type: ignore[arg-type]

    monkeypatch.setattr(batch, "read_changesets", read)
    return tried


def test_a_changeset_that_fails_every_batch_is_rejected_and_others_land(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = define(world.repo, "web", ["web/"])
    tip = world.tip
    before, poison, stacked, after = world.submit(
        item(world.all, {"a": b"1"}, tip), item(world.all, {"p": b"1"}, tip, key="k"),
        item(world.all, {"q": b"1"}, 1), item(world.all, {"b": b"1"}, tip),
    )  # fmt: skip
    [elsewhere] = world.submit(item(web, {"web/a": b"1"}, tip))
    tried = reads(monkeypatch, [poison])
    assert work(world, Bad) >= 1
    neighbours = [world.status(each) for each in (before, after, elsewhere)]
    assert neighbours == ["committed"] * 3, "they do not wait for the poison's end"
    outcome = until_rejected(world, poison, Bad)
    assert (outcome.status, outcome.reason, outcome.key) == ("rejected", "poison", "k")
    assert "3 times" in outcome.detail and "Bad" in outcome.detail
    with_poison = [batch for batch in tried if poison in batch]
    assert len(with_poison[0]) > 1 and with_poison[1:] == [[poison]] * 3, "together once, then alone"
    world.work()
    rejected = world.repo.outcome(stacked)
    assert rejected and (rejected.status, rejected.reason) == ("rejected", "base-not-landed")
    assert not verify(world.repo).differences
    said = [data for _, data in world.repo.log.read_from(1) if b'"id":"%b"' % poison.encode() in data]
    assert len(said) == 1, "exactly one outcome"


def test_a_changeset_whose_worker_dies_is_rejected_and_its_neighbours_land(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tip = world.tip
    before, poison, after = world.submit(*[item(world.all, {path: b"1"}, tip) for path in "apb"])
    reads(monkeypatch, [poison], Died)
    release, lease = world.repo.queue.release, world.repo.view.prefix + "lease:"
    deaths: list[str] = []

    def dies_with_its_worker(owner: str, claimed: Sequence[batch.Claimed], fault: str = "", *more: Any) -> None:
        if any(each.id == poison for each in claimed) and claimed[0].deaths < 3:
            deaths.append(owner)
            await_true(lambda: not world.repo.redis.exists(lease + owner))
            return
        release(owner, claimed, fault, *more)

    monkeypatch.setattr(world.repo.queue, "release", dies_with_its_worker)
    outcome = until_rejected(world, poison, Died)
    assert (outcome.status, outcome.reason) == ("rejected", "poison")
    assert "its worker died" in outcome.detail and "3 times" in outcome.detail
    assert len(deaths) == 4, "once with its neighbours, three times alone"
    assert [world.status(each) for each in (before, after)] == ["committed"] * 2
    world.work()
    assert not verify(world.repo).differences


@pytest.mark.parametrize("stage", ["link", "prove"])
def test_a_batch_may_fail_at_any_stage(world: World, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    tip = world.tip
    poison, neighbour = world.submit(item(world.all, {"p": b"1"}, tip), item(world.all, {"a": b"1"}, tip))
    run = Linker.run

    def link(linker: Linker, changesets: Sequence[Changeset]) -> object:
        if any(each.id == poison for each in changesets):
            if stage == "link":
                raise Bad
            linked = run(linker, changesets)
            linked.net[b"p"] = None
            return linked
        return run(linker, changesets)

    monkeypatch.setattr(Linker, "run", link)
    outcome = until_rejected(world, poison, Bad, batch.RootMismatch)
    assert outcome.reason == "poison" and ("Bad" in outcome.detail) == (stage == "link")
    assert world.status(neighbour) == "committed"
    assert not verify(world.repo).differences


@pytest.mark.parametrize("error", [Bad, Died])
def test_changesets_that_were_claimed_and_not_tried_are_no_suspects(
    world: World, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    ids = world.submit(*[item(world.all, {path: b"1"}, world.tip) for path in "abcdef"])
    with monkeypatch.context() as failing:
        failing.setattr(prefetch, "portion", lambda changesets, *_: list(changesets[:2]))

        def link(linker: Linker, batch: Sequence[Changeset]) -> Linked:
            raise error

        failing.setattr(Linker, "run", link)
        if error is Died:
            failing.setattr(world.repo.queue, "release", lambda *_: None)
        with pytest.raises(error):
            commit_batch(world.repo)
    if error is not Died:
        suspects = world.repo.redis.zrange(world.repo.view.prefix + "suspects", 0, -1)
        assert suspects == [each.encode() for each in ids[:2]]
    while world.repo.queue.length():  # nothing announces the end of the dead one's claim
        commit_batch(world.repo)
    assert [world.status(each) for each in ids] == ["committed"] * 6
    entries = [decode(data) for _, data in world.repo.log.read_from(1)]
    batches = sorted(len(entry.decided) for entry in entries if entry.decided)
    assert batches == [1, 1, 4], "only the two that were tried were tried alone"


def test_a_single_one_that_was_tried_of_many_counts_as_tried_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = world.submit(*[item(world.all, {path: b"1"}, world.tip) for path in "abc"])
    with monkeypatch.context() as failing:
        failing.setattr(prefetch, "portion", lambda changesets, *_: list(changesets[:1]))
        failing.setattr(Linker, "run", lambda *_: (_ for _ in ()).throw(Bad("it is bad")))
        with pytest.raises(Bad):
            commit_batch(world.repo)
    deaths = [world.repo.redis.hget(f"{world.repo.view.prefix}work:{each}", "deaths") for each in ids]
    assert deaths == [b"1", None, None]


def test_without_anything_else_that_goes_well_nobody_is_found_guilty_soon(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = world.put({"p": b"1"})
    tried = reads(monkeypatch, [poison])
    for _ in range(5):
        work(world, Bad)
    assert world.status(poison) == "queued" and len(tried) == 2, "it rests: it may be the servers"
    impatient = world.reopened(poison_wait=0.0)
    assert work(impatient, Bad) == 2 and world.status(poison) == "rejected", "but not for ever"


def test_servers_that_fail_are_nobodys_fault(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = world.submit(*[item(world.all, {path: b"1"}, world.tip) for path in "abc"])
    with monkeypatch.context() as away:
        away.setattr(Bucket, "create", lambda *args: (_ for _ in ()).throw(BucketError("away")))
        for _ in range(5):
            with pytest.raises(BucketError):
                commit_batch(world.repo)
    assert commit_batch(world.repo).changesets == 3, "all in one batch: nobody is suspected"
    assert [world.status(each) for each in ids] == ["committed"] * 3


@pytest.mark.parametrize("stop", [SystemExit, KeyboardInterrupt])
def test_a_stop_is_not_an_attempt(world: World, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]) -> None:
    ids = world.submit(*[item(world.all, {path: b"1"}, world.tip) for path in "abc"])
    with monkeypatch.context() as stopped:
        reads(stopped, [ids[1]], stop)
        for _ in range(5):
            with pytest.raises(stop):
                commit_batch(world.repo)
    assert commit_batch(world.repo).changesets == 3, "given back at once, and nobody is suspected"


def test_a_batch_that_is_slow_keeps_its_claim(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # A life that is longer than a busy machine may make the pulse miss its time; it beats each second all the same.
    world.repo = Repository(replace(world.repo.settings, lock_ttl=60.0))
    ids = world.submit(*[item(world.all, {path: b"1"}, world.tip) for path in "abc"])
    other = Repository(world.repo.settings)
    with monkeypatch.context() as slow:

        def read(*args: object) -> list[Changeset]:
            [owner] = other.queue.claimants()
            lives = [world.repo.redis.pttl(f"{world.repo.view.prefix}lease:{owner}")]

            def renewed() -> bool:
                assert other.queue.claim(new_ulid()) == []
                lives.append(world.repo.redis.pttl(f"{world.repo.view.prefix}lease:{owner}"))
                return sum(after > before for before, after in pairwise(lives)) == 3

            await_true(renewed)
            return read_changesets(*args)  # type: ignore[arg-type]

        slow.setattr(batch, "read_changesets", read)
        assert commit_batch(world.repo).changesets == 3
    assert [world.status(each) for each in ids] == ["committed"] * 3


def test_an_owner_that_was_taken_for_dead_takes_the_blame_back(world: World) -> None:
    [changeset] = world.submit(item(world.all, {"a": b"1"}, world.tip))
    slow = new_owner()
    mine = world.repo.queue.claim(slow)
    await_true(lambda: not world.repo.redis.exists(f"{world.repo.view.prefix}lease:{slow}"))
    [theirs] = world.repo.queue.claim("next")
    assert (theirs.id, theirs.deaths) == (changeset, 1)
    world.repo.queue.release(slow, mine)
    world.repo.queue.release("next", [theirs])
    [again] = world.repo.queue.claim("third")
    assert (again.id, again.deaths) == (changeset, 0)


def test_a_flush_forgets_the_counts_and_only_delays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tip = world.tip
    poison, neighbour = world.submit(item(world.all, {"p": b"1"}, tip), item(world.all, {"a": b"1"}, tip))
    reads(monkeypatch, [poison])
    for number in range(2):
        work(world, Bad)
        more(world, number)
    flush(world)
    run_upkeep(world.repo)
    assert world.status(neighbour) == "committed"
    outcome = until_rejected(world, poison, Bad)
    assert outcome.reason == "poison"
    flush(world)
    run_upkeep(world.repo)
    with contextlib.suppress(Bad):
        work(world)
    assert world.status(poison) == "rejected", "the decision is in the log"
    assert not verify(world.repo).differences
