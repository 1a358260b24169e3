"""Queues, claims, locks and messages, on a real Redis; nothing here needs a bucket."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import redis
from msgspec import structs

from storage.backends.deadline import Budget, budget
from storage.backends.scripts import Scripts
from storage.base.errors import Paused, Recovering, ViewAbsent
from storage.base.ids import ChangesetId, PackId, SliceId, new_ulid
from storage.base.settings import Settings
from storage.coordination import Heartbeat, new_owner
from storage.coordination import lease as lease_module
from storage.git.objects import Ident
from storage.git.packs import PackRange
from storage.log.manifest import Changeset
from storage.queue.append_lock import AppendLock
from storage.queue.deliveries import Deliveries
from storage.queue.mirror_work import MirrorWork
from storage.queue.queue import Queue
from storage.queue.states import Claimed, NoPosition
from tests.support.queue_bench import QueueBench
from tests.support.waiting import await_true


@pytest.fixture
def unhurried(redis_settings: Settings) -> Settings:
    """Settings with which no lease expires, and no message is lost, because the machine is busy."""
    return replace(redis_settings, lock_ttl=300.0, message_ttl=300.0)


@pytest.fixture
def bench(unhurried: Settings) -> QueueBench:
    return QueueBench(unhurried)


def claimed(bench: QueueBench, owner: str = "me", **settings: object) -> list[str]:
    queue = Queue(replace(bench.settings, **settings), bench.view, bench.archive)  # type: ignore[arg-type]
    return [each.id for each in queue.claim(owner)]


def test_a_queue_is_ordered_by_id_and_enqueuing_again_changes_nothing(bench: QueueBench) -> None:
    ids = bench.put("S0", count=5)
    assert bench.queue.waiting("S0", "", 10) == sorted(ids) == ids
    again = Changeset(
        id=ids[2], pack=PackId("inbox/P-1"), slice=SliceId("S0"), author=Ident("a", "b", 1), message="m", changes=()
    )
    assert bench.queue.enqueue([(again, b"{}")]) == [2]
    assert bench.queue.length() == 5


def test_what_has_an_outcome_is_never_queued_again(bench: QueueBench) -> None:
    [one] = bench.put("S0")
    bench.decide(one, "S0")
    again = Changeset(
        id=one, pack=PackId("inbox/P-1"), slice=SliceId("S0"), author=Ident("a", "b", 1), message="m", changes=()
    )
    bench.queue.release("nobody", [*bench.queue.claim("me")])
    assert bench.queue.enqueue([(again, b"{}")]) == [NoPosition.DECIDED]
    assert bench.queue.length() == 0


def test_new_queued_and_decided_ones_in_one_call_are_told_apart(bench: QueueBench) -> None:
    made = [bench.made("S0", f"f{i}") for i in range(4)]
    queued, decided, left, new = made
    bench.queue.enqueue([(each, b"{}") for each in made[:3]])
    bench.decide(decided.id, "S0")
    claimed = bench.queue.claim("me")
    assert [item.id for item in claimed] == [queued.id, left.id]
    bench.decide(queued.id, "S0")
    bench.queue.release("me", claimed)
    assert bench.queue.waiting("S0", "", 10) == [left.id], "decided ones leave, and the other is given back"
    assert bench.queue.enqueue([(each, b"{}") for each in made]) == [NoPosition.DECIDED, NoPosition.DECIDED, 0, 1]
    assert bench.queue.length() == 2 and [item.id for item in bench.queue.claim("you")] == [left.id, new.id]


def owner_of(bench: QueueBench, key: str) -> tuple[str | None, int]:
    """Return whose an idempotency key is, and how many seconds that is remembered outside the view (-1: for ever)."""
    found = bench.queue.key_owners([key]).get(key)
    return found and found[0], bench.view.redis.ttl(f"{bench.view.prefix}key:{key}")


@pytest.mark.parametrize("hold", [False, True], ids=["queued", "held"])
def test_an_idempotency_key_is_known_while_its_changeset_is_undecided(bench: QueueBench, hold: bool) -> None:
    first, second = (structs.replace(bench.made("S0", "f"), key="k", fingerprint="f", hold=hold) for _ in range(2))
    bench.queue.enqueue([(first, b"{}"), (second, b"{}")])
    assert owner_of(bench, "k") == (first.id, -1)
    bench.decide(second.id, "S0", "rejected", reason="duplicate", key="k", fingerprint="f")
    bench.queue.release("me", [Claimed(SliceId("S0"), each.id, each.pack) for each in (first, second)])
    assert owner_of(bench, "k") == (first.id, -1), "its owner is not decided"
    bench.decide(first.id, "S0", key="k", fingerprint="f")
    bench.queue.release("me", [Claimed(SliceId("S0"), first.id, first.pack)])
    owner, seconds = owner_of(bench, "k")
    assert owner == first.id and 0 < seconds <= 60


def test_a_dead_workers_changesets_key_goes_with_its_lease(
    bench: QueueBench,
) -> None:
    one = structs.replace(bench.made("S0", "f"), key="k", fingerprint="f")
    bench.queue.enqueue([(one, b"{}")])
    bench.decide(one.id, "S0", key="k", fingerprint="f")
    assert owner_of(bench, "k") == (one.id, -1)
    assert claimed(bench) == []
    owner, seconds = owner_of(bench, "k")
    assert owner == one.id and 0 < seconds <= 60


def test_a_key_does_not_expire_if_an_older_view_requeues_its_changeset(bench: QueueBench) -> None:
    one = structs.replace(bench.made("S0", "f"), key="k", fingerprint="f")
    bench.view.redis.set(f"{bench.view.prefix}key:k", f"{one.id} f", ex=60)
    bench.queue.enqueue([(one, b"{}")])
    assert owner_of(bench, "k") == (one.id, -1)


def test_a_slice_with_a_thousand_waiting_does_not_starve_one_with_one(bench: QueueBench) -> None:
    bench.put("S0", "many", count=50)
    [one] = bench.put("S1", "one")
    first = claimed(bench, "a", commit_changesets=20)
    second = claimed(bench, "b", commit_changesets=20)
    assert one in first + second


@pytest.mark.parametrize("others", [1, 2], ids=["with-little-new-work-each", "with-new-work-that-fills-a-claim"])
def test_a_slice_that_submits_nothing_new_is_claimed_among_busy_ones(unhurried: Settings, others: int) -> None:
    bench = QueueBench(unhurried, slices=5)
    old = bench.put("S0", "old", count=5)
    got = []
    for number in range(16):
        for where in bench.slices[1:]:
            bench.put(where, where, count=others)
        mine = Queue(replace(bench.settings, commit_slices=2, commit_changesets=2), bench.view, bench.archive)
        batch = mine.claim(f"w{number}")
        assert len(batch) == 2
        for each in batch:
            bench.decide(each.id, each.slice)
        bench.queue.release(f"w{number}", batch)
        got += [(each.slice, each.id) for each in batch]
    assert [each for where, each in got if where == "S0"] == old
    assert {where for where, _ in got} == set(bench.slices), "nor do the busy ones starve each other"


def test_new_work_is_claimed_among_slices_that_were_tried_in_vain(unhurried: Settings) -> None:
    bench = QueueBench(unhurried, slices=20)
    for where in bench.slices[:-1]:
        bench.put(where, where, base=new_ulid())
    for _ in range(10):
        assert claimed(bench, commit_slices=2) == []
    [new] = bench.put("S19", "f")
    assert claimed(bench, commit_slices=2) == [new]


def test_claims_are_bounded_by_changesets_changes_and_slices(bench: QueueBench) -> None:
    bench.put("S0", *[f"a{i}" for i in range(10)], count=5)
    bench.put("S1", "b", count=5)
    assert len(claimed(bench, "a", commit_changesets=3)) == 3
    bench2 = QueueBench(replace(bench.settings, repository=bench.settings.repository + "x"))
    bench2.put("S0", *[f"a{i}" for i in range(10)], count=5)
    assert len(claimed(bench2, "a", commit_changes=25)) == 2
    bench3 = QueueBench(replace(bench.settings, repository=bench.settings.repository + "y"))
    for where in bench3.slices:
        bench3.put(where, where)
    assert len(claimed(bench3, "a", commit_slices=2)) == 2


def with_contents(bench: QueueBench, where: str, path: str, *sizes: int) -> list[ChangesetId]:
    """Queue a changeset of one file for each of these sizes."""
    made = [bench.made(where, path) for _ in sizes]
    sized = [
        structs.replace(one, changes=(structs.replace(one.changes[0], range=PackRange(12, 9, size)),))
        for one, size in zip(made, sizes, strict=True)
    ]
    bench.queue.enqueue([(one, b"{}") for one in sized])
    return [one.id for one in sized]


@pytest.mark.parametrize(("queued", "most_of_many", "expected"), [(40, 8, 8), (40, 100, 10), (16, 8, 4), (40, 0, 4)])
def test_a_claim_takes_a_fourth_of_what_is_queued(
    bench: QueueBench, queued: int, most_of_many: int, expected: int
) -> None:
    for i in range(queued):
        bench.put(f"S{i % 4}", f"f{i}")
    assert len(bench.queue.claim("me", most=4, most_of_many=most_of_many)) == expected


def test_a_claim_is_bounded_by_the_bytes_of_contents_and_has_one_at_least(bench: QueueBench) -> None:
    [large, _] = with_contents(bench, "S0", "a", 900, 10)
    [other] = with_contents(bench, "S1", "b", 5)
    assert claimed(bench, "a", commit_bytes=800) == [large], "nothing would ever be claimed else"
    rest = with_contents(bench, "S2", "c", 500, 285, 5)
    assert claimed(bench, "b", commit_bytes=796) == [other, *rest[:2]], "790 bytes of contents and 6 of manifests"


def test_what_has_no_room_behind_others_is_the_first_in_the_end(bench: QueueBench) -> None:
    queue, large = Queue(replace(bench.settings, commit_bytes=100), bench.view, bench.archive), ""
    for i in range(4):
        # Always work for the one slice, and then for the other, whose first changeset has no room behind that.
        with_contents(bench, "S0", f"a{i}", 50)
        first, *_ = with_contents(bench, "S1", f"b{i}", 1 if large else 80)
        large = large or first
        taken = queue.claim(f"owner {i}")
        for item in taken:
            bench.decide(item.id, item.slice)
        queue.release(f"owner {i}", taken)
        if large in [item.id for item in taken]:
            return
    pytest.fail("it is never claimed")


def test_what_an_older_version_queued_is_bounded_by_count_alone(bench: QueueBench) -> None:
    ids = with_contents(bench, "S0", "a", *[1000] * 5)
    for changeset in ids:
        assert bench.view.redis.hdel(f"{bench.view.prefix}work:{changeset}", "size") == 1
    assert claimed(bench, commit_bytes=100, commit_changesets=4) == ids[:4]


def test_many_that_an_older_version_queued_count_as_few_of_them_do(bench: QueueBench) -> None:
    ids = with_contents(bench, "S0", "a", *[1000] * 40)
    for changeset in ids:
        assert bench.view.redis.hdel(f"{bench.view.prefix}work:{changeset}", "size") == 1
    queue = Queue(replace(bench.settings, commit_bytes=1000), bench.view, bench.archive)
    assert len(queue.claim("me", most=5, most_of_many=10)) == 5


def test_two_owners_never_hold_one_slice_or_one_file(bench: QueueBench) -> None:
    [one] = bench.put("S0", "shared", "a")
    assert claimed(bench, "a") == [one]
    [busy] = bench.put("S0", "elsewhere")
    [shares] = bench.put("S1", "b", "shared")
    [free] = bench.put("S2", "c")
    assert claimed(bench, "b") == [free], f"{busy} is in a's slice, {shares} changes a's file"
    assert set(claimed(bench, "c", use_locks=False)) == {one, busy, shares, free}


def test_a_slice_of_always_busy_files_goes_on_without_their_locks_at_last(bench: QueueBench) -> None:
    bench.put("S0", "shared")
    held = bench.queue.claim("a")
    [late] = bench.put("S1", "shared")
    tries = [claimed(bench, "b", lock_tries=3) for _ in range(4)]
    assert tries == [[], [], [], [late]]
    assert held


def test_a_holder_that_died_blocks_only_until_its_locks_expire(bench: QueueBench) -> None:
    [one] = bench.put("S0", "f")
    assert claimed(bench, "dead") == [one]
    assert claimed(bench, "b") == []
    bench.run_out()
    assert claimed(bench, "b") == [one]


def end_lease(bench: QueueBench, owner: str) -> None:
    """Let the lease of an owner expire, as it does soon after its process has died."""
    assert bench.view.redis.delete(f"{bench.view.prefix}lease:{owner}") == 1


def test_all_that_a_dead_owner_has_ends_with_its_one_lease(bench: QueueBench) -> None:
    [one] = bench.put("S0", "shared")
    owner, ttl = new_owner(), bench.settings.lock_ttl * 1000
    lock = AppendLock(bench.settings, bench.view, Heartbeat(bench.settings))
    assert [each.id for each in bench.queue.claim(owner)] == [one] and lock.take(owner, 0.0)
    assert bench.queue.ask("commit", 1) is None, "all work is claimed"
    [other] = bench.put("S1", "shared")
    assert 0 < bench.view.redis.pttl(f"{bench.view.prefix}lease:{owner}") <= ttl
    assert Settings().lock_ttl <= 3
    assert bench.view.redis.pttl(f"{bench.view.prefix}lock:slice:S0") > ttl, "no lock has to be renewed"
    assert not lock.take(new_owner(), 0.0) and claimed(bench, "b") == []
    end_lease(bench, owner)
    assert lock.take(new_owner(), 0.0), "the append lock"
    assert {*claimed(bench, "c"), *claimed(bench, "d")} == {one, other}, "slice and file"


def test_what_a_dead_owner_has_claimed_is_work_for_a_message(bench: QueueBench) -> None:
    bench.put("S0", "f")
    owner = new_owner()
    assert bench.queue.claim(owner) and bench.queue.ask("commit", 1) is None
    end_lease(bench, owner)
    assert bench.queue.ask("commit", 1)


def test_a_lease_that_expired_revives_while_nobody_took_its_locks(bench: QueueBench) -> None:
    [one] = bench.put("S0", "f")
    owner, heartbeat = new_owner(), Heartbeat(bench.settings)
    assert [each.id for each in bench.queue.claim(owner)] == [one]
    end_lease(bench, owner)
    with heartbeat.of(owner):
        await_true(lambda: bench.view.redis.exists(f"{bench.view.prefix}lease:{owner}") == 1)
        assert claimed(bench, "b") == [] and bench.queue.claimants() == [owner]


def test_a_message_counts_for_as_long_as_its_run_lives(bench: QueueBench) -> None:
    bench.put("S0", "f")
    permit = bench.queue.ask("commit", 1)
    assert permit
    token = permit.token
    key = bench.view.prefix + "messages:commit"
    before = bench.view.redis.zscore(key, token)
    with Heartbeat(bench.settings).of_message("commit", token):
        await_true(lambda: bench.view.redis.zscore(key, token) > before)


def test_a_claim_whose_answer_was_lost_is_released_whole(bench: QueueBench, monkeypatch: pytest.MonkeyPatch) -> None:
    [one] = bench.put("S0", "f")
    scripts = Scripts.__call__

    def lost(self: Scripts, name: str, *args: object, **more: object) -> object:
        answer = scripts(self, name, *args, **more)
        if name == "claim":
            raise redis.ConnectionError("its answer is lost")
        return answer

    with monkeypatch.context() as broken:
        broken.setattr(Scripts, "__call__", lost)
        with pytest.raises(redis.ConnectionError):
            bench.queue.claim(new_owner())
    assert [each.id for each in bench.queue.claim(new_owner())] == [one]
    assert len(bench.queue.claimants()) == 1


def test_releasing_leaves_the_locks_that_are_somebody_elses_now(bench: QueueBench) -> None:
    bench.put("S0", "f")
    slow = new_owner()
    mine = bench.queue.claim(slow)
    end_lease(bench, slow)
    theirs = bench.queue.claim("next")
    assert [each.id for each in theirs] == [each.id for each in mine]
    bench.queue.release(slow, mine)
    assert bench.queue.claim("third") == []


def test_a_changeset_waits_for_its_base_and_what_stands_behind_it_does_not(bench: QueueBench) -> None:
    [base] = bench.put("S1", "b")
    held = bench.queue.claim("holder")
    [waits] = bench.put("S0", "f", base=base)
    [free] = bench.put("S0", "g")
    found = bench.queue.claim("me")
    assert [each.id for each in found] == [free]
    bench.queue.release("me", found)
    bench.decide(base, "S1")
    bench.queue.release("holder", held)
    assert waits in [each.id for each in bench.queue.claim("me")]


def test_a_base_in_the_same_claim_is_no_reason_to_wait(bench: QueueBench) -> None:
    [first] = bench.put("S0", "f")
    [second] = bench.put("S0", "f", base=first)
    assert claimed(bench) == [first, second]


def test_changesets_that_wait_for_bases_cannot_hide_those_behind_them(bench: QueueBench) -> None:
    bench.put("S0", "f", base=new_ulid(), count=5)
    [free] = bench.put("S0", "g")
    near_sighted = Queue(bench.settings, bench.view, bench.archive, look_ahead=2)
    assert [[each.id for each in near_sighted.claim("me")] for _ in range(3)] == [[], [], [free]]


def test_nothing_is_claimed_before_the_inbox_is_listed_or_under_backlog(bench: QueueBench) -> None:
    bench.put("S0", "f")
    bench.view.redis.delete(bench.view.prefix + "recovered")
    with pytest.raises(Recovering):
        bench.queue.claim("me")
    bench.queue.mark_recovered("E", bench.queue.run())
    [one] = bench.put("S1", "g")
    bench.decide(one, "S1")
    with pytest.raises(Paused):
        Queue(replace(bench.settings, max_pending=1), bench.view, bench.archive).claim("me")
    bench.view.redis.delete(bench.view.prefix + "epoch")
    with pytest.raises(ViewAbsent):
        bench.queue.claim("me")


def test_messages_are_sent_for_work_while_fewer_than_allowed_are_out(bench: QueueBench) -> None:
    assert bench.queue.ask("commit", 2) is None, "no work"
    bench.put("S0", "f")
    first, second, third = (bench.queue.ask("commit", 2) for _ in range(3))
    assert first and second and third is None
    assert bench.queue.ask("commit", 2, done=first.token), "the run that ends makes room for the next"


def test_a_lost_message_stops_counting_after_its_time(bench: QueueBench) -> None:
    bench.put("S0", "f")
    assert bench.queue.ask("commit", 1) and bench.queue.ask("commit", 1) is None
    bench.run_out()
    assert bench.queue.ask("commit", 1)


def test_a_lost_message_of_a_fast_clock_stops_counting_as_soon(
    redis_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = QueueBench(replace(redis_settings, message_ttl=0.02))
    bench.put("S0")
    with monkeypatch.context() as fast:
        now = time.time
        fast.setattr("time.time", lambda: now() + 3600)
        assert bench.queue.ask("commit", 1)
    time.sleep(0.03)
    assert bench.queue.ask("commit", 1)


def test_a_run_without_a_claim_does_not_call_itself_but_sees_new_work(bench: QueueBench) -> None:
    bench.put("S0", "f", base=new_ulid())
    started = int(time.time() * 1000)
    permit = bench.queue.ask("commit", 1)
    assert permit and bench.queue.claim("me") == []
    assert bench.queue.ask("commit", 1, done=permit.token, before=started) is None
    bench.put("S1", "g")
    assert bench.queue.ask("commit", 1, before=started)


def test_changesets_gather_while_a_run_is_under_way_until_they_are_a_batch(redis_settings: Settings) -> None:
    bench = QueueBench(replace(redis_settings, commit_changesets=4))
    bench.put("S0", "f")
    first = bench.queue.ask("commit", 2, gathers=True)
    assert first, "where none is under way the first one gets a run at once"
    bench.put("S1", "g", count=2)
    assert bench.queue.ask("commit", 2, gathers=True) is None
    bench.put("S2", "h")
    assert bench.queue.ask("commit", 2, gathers=True), "four are a batch"
    assert bench.queue.ask("commit", 2, gathers=True) is None, "as many as there are workers"


def test_what_gathers_is_a_batch_sooner_while_several_share_it(redis_settings: Settings) -> None:
    bench = QueueBench(replace(redis_settings, commit_share=2))
    bench.put("S0", "f")
    assert bench.queue.ask("commit", 2, gathers=True)
    bench.put("S1", "g")
    assert bench.queue.ask("commit", 2, gathers=True) is None
    bench.view.redis.zadd(bench.view.prefix + "principals", {"another": time.time() * 1000})
    assert bench.queue.ask("commit", 2, gathers=True)


def test_nobody_pauses_while_several_principals_are_active(bench: QueueBench) -> None:
    bench.put("S0", "f")
    one = bench.queue.ask("commit", 2, gathers=True, applied=0.0)
    assert one and one.waits
    bench.view.redis.zadd(bench.view.prefix + "principals", {"another": time.time() * 1000})
    other = bench.queue.ask("commit", 2, done=one.token, gathers=True, applied=0.0)
    assert other and not other.waits


def test_what_waits_long_for_the_run_under_way_gets_another_one(bench: QueueBench) -> None:
    bench.put("S0", "f")
    assert bench.queue.ask("commit", 2, gathers=True)
    assert bench.queue.ask("commit", 2, gathers=True) is None
    ready = bench.view.prefix + "ready"
    bench.view.redis.zincrby(ready, -1000, "S0")  # as if it had come a second earlier
    assert bench.queue.ask("commit", 2, gathers=True)


def test_what_is_under_way_is_no_part_of_what_gathers(redis_settings: Settings) -> None:
    bench = QueueBench(replace(redis_settings, commit_changesets=4))
    bench.put("S0", "f", count=4)
    assert bench.queue.ask("commit", 2, gathers=True) and len(bench.queue.claim(new_owner())) == 4
    bench.put("S1", "g", count=3)
    assert bench.queue.ask("commit", 2, gathers=True) is None
    bench.put("S1", "g")
    assert bench.queue.ask("commit", 2, gathers=True)


def test_what_a_run_has_left_waits_for_no_other_run(bench: QueueBench) -> None:
    bench.put("S0", "f", count=2)
    bench.put("S1", "g")
    first = bench.queue.ask("commit", 3, gathers=True)
    assert first
    [one] = bench.queue.claim(owner := new_owner(), most=1)
    bench.decide(one.id, one.slice)
    bench.queue.release(owner, [one])
    bench.view.redis.zadd(bench.view.prefix + "messages:commit", {"another": time.time() * 1000 + 60_000})
    assert bench.queue.ask("commit", 3, done=first.token, gathers=True)


def test_what_was_tried_long_ago_waits_for_no_run_under_way(bench: QueueBench) -> None:
    bench.put("S0", "f")
    assert bench.queue.ask("commit", 2, gathers=True)
    bench.view.redis.zadd(bench.view.prefix + "ready", {"S0": time.time() * 1000})
    assert bench.queue.ask("commit", 2, gathers=True) is None
    bench.view.redis.zadd(bench.view.prefix + "ready", {"S0": time.time() * 1000 - 1000})
    assert bench.queue.ask("commit", 2, gathers=True)


def test_a_run_that_lets_others_begin_counts_and_is_not_waited_for(bench: QueueBench) -> None:
    bench.put("S0", "f")
    first = bench.queue.ask("commit", 2, gathers=True)
    assert first and bench.queue.ask("commit", 2, gathers=True) is None
    bench.queue.let_others_begin(first.token)
    second = bench.queue.ask("commit", 2, gathers=True)
    assert second
    bench.queue.let_others_begin(second.token)
    assert bench.queue.ask("commit", 2, gathers=True) is None, "as many as there are workers"
    assert bench.queue.ask("commit", 2, done=first.token, gathers=True)


def test_what_a_dead_run_has_claimed_is_not_waited_for(bench: QueueBench) -> None:
    bench.put("S0", "f")
    owner = new_owner()
    assert bench.queue.ask("commit", 2, gathers=True) and bench.queue.claim(owner)
    bench.put("S1", "g")
    assert bench.queue.ask("commit", 2, gathers=True) is None
    end_lease(bench, owner)
    assert bench.queue.ask("commit", 2, gathers=True)


def test_the_next_message_waits_only_for_what_came_before_the_entry_was_applied(bench: QueueBench) -> None:
    """Who waits for its changeset sends the next one when that has landed: nothing else is coming then."""
    bench.put("S0", "f")
    permit = bench.queue.ask("commit", 2, gathers=True)
    assert permit and not permit.waits
    after = bench.queue.ask("commit", 2, done=permit.token, gathers=True, applied=3600.0)
    assert after and not after.waits
    stream = bench.queue.ask("commit", 2, done=after.token, gathers=True, applied=0.0)
    assert stream and stream.waits
    far = bench.queue.ask("commit", 2, done=stream.token, gathers=False, applied=0.0)
    assert far and not far.waits, "where nothing gathers"


def test_a_batch_that_is_queued_waits_for_no_more(redis_settings: Settings) -> None:
    bench = QueueBench(replace(redis_settings, commit_changesets=2))
    bench.put("S0", "f", count=2)
    permit = bench.queue.ask("commit", 2, gathers=True, applied=0.0)
    assert permit and not permit.waits


def test_the_ticket_admits_one_and_a_dead_holders_expires(bench: QueueBench) -> None:
    view = bench.view
    ticket = AppendLock(bench.settings, view, Heartbeat(bench.settings))
    assert ticket.take("a", 0.1)
    other = AppendLock(bench.settings, view, Heartbeat(bench.settings))
    assert not other.take("b", 0.0)
    bench.run_out()
    assert other.take("b", 10.0), "after the holder's time"
    ticket.release("a")
    assert not ticket.take("c", 0.0), "only the owner gives it back"


def ticket_of(bench: QueueBench) -> AppendLock:
    return AppendLock(bench.settings, bench.view, Heartbeat(bench.settings))


def waiting_for_tickets(bench: QueueBench) -> int:
    """Return how many connections wait now; one that waited last is idle."""
    return sum(client["cmd"] == "blpop" and "b" in client["flags"] for client in bench.view.redis.client_list())


def test_a_ticket_that_is_given_back_goes_to_who_has_waited_longest(
    unhurried: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told: it would try again by itself after minutes alone."""
    monkeypatch.setattr(lease_module, "_LONGEST_WAIT", 600.0)
    bench = QueueBench(replace(unhurried, redis_timeout=1200.0))
    tickets, owners = [ticket_of(bench) for _ in range(4)], [new_owner() for _ in range(4)]  # of as many processes
    assert tickets[0].take(owners[0], 0.0)
    order: list[int] = []

    def take(number: int) -> None:
        assert tickets[number].take(owners[number], 600.0)
        order.append(number)
        tickets[number].release(owners[number])

    with ThreadPoolExecutor(3) as pool:
        waiting = []
        for number in range(1, 4):
            waiting.append(pool.submit(take, number))
            await_true(lambda: waiting_for_tickets(bench) == len(waiting))
        tickets[0].release(owners[0])
        for each in waiting:
            each.result(60)
    assert order == [1, 2, 3]
    left = [f"{bench.view.prefix}{key}:ticket" for key in ("awaited", "freed")]
    assert all(bench.view.redis.pttl(key) != -1 for key in left), "what is left of it goes by itself"


def test_who_was_told_and_ends_before_it_took_the_ticket_tells_the_next_one(bench: QueueBench) -> None:
    holder, told, freed = ticket_of(bench), ticket_of(bench), f"{bench.view.prefix}freed:ticket"
    assert holder.take("a", 0.0) and not told.take("b", 0.001)
    holder.release("a")
    assert bench.view.redis.lpop(freed) is not None
    told.release("b")
    assert bench.view.redis.llen(freed) == 1
    assert holder.take("a", 0.0)
    bench.view.redis.delete(freed)
    told.release("b")
    assert bench.view.redis.llen(freed) == 0, "it is not free"


def test_a_ticket_that_nobody_waits_for_tells_nobody(bench: QueueBench) -> None:
    ticket = ticket_of(bench)
    with ticket.held("a"):
        assert not ticket_of(bench).take("b", 0.0), "tried once, and gone"
    assert not bench.view.redis.exists(f"{bench.view.prefix}freed:ticket")


def test_a_ticket_whose_holder_died_is_free_after_its_lease(unhurried: Settings) -> None:
    bench = QueueBench(replace(unhurried, lock_ttl=0.3))
    assert ticket_of(bench).take(new_owner(), 0.0)
    assert ticket_of(bench).take(new_owner(), 600.0), "nobody gave it back"


def test_a_wait_for_a_ticket_is_no_call(bench: QueueBench, monkeypatch: pytest.MonkeyPatch) -> None:
    took = list[float]()
    monkeypatch.setattr(Budget, "took", lambda budget, started, size: took.append(started))
    assert ticket_of(bench).take("a", 0.0)
    with budget("batch_budget", 600.0):
        assert not ticket_of(bench).take("b", 0.0)
        calls = len(took)
        assert calls and not ticket_of(bench)._lease.take_or_wait("b", 0.01)
        assert len(took) == 2 * calls


def test_a_message_for_a_webhook_or_a_mirror_is_sent_once(bench: QueueBench) -> None:
    for work in (Deliveries(bench.view), MirrorWork(bench.view)):
        assert [work.ask("one"), work.ask("one"), work.ask("other")] == [True, False, True]
        work.answered("one")
        assert work.ask("one")


def test_one_thread_of_a_process_asks_for_the_ticket_and_others_wait(
    bench: QueueBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket, at_once = ticket_of(bench), list[bool]()
    ask, asking = ticket._lease.take_or_wait, threading.Semaphore(1)

    def alone(owner: str, seconds: float) -> bool:
        at_once.append(asking.acquire(blocking=False))
        taken = ask(owner, min(seconds, 0.01))
        asking.release()
        return taken

    monkeypatch.setattr(ticket._lease, "take_or_wait", alone)

    def hold(number: int) -> bool:
        taken = ticket.take(f"owner {number}", 600.0)
        ticket.release(f"owner {number}")
        return taken

    assert ticket_of(bench).take("a", 0.0)
    with ThreadPoolExecutor(8) as pool:
        holding = [pool.submit(hold, number) for number in range(8)]
        await_true(lambda: len(at_once) > 2)
        ticket_of(bench).release("a")
        assert all(each.result(60) for each in holding)
    assert all(at_once)
