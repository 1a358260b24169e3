"""Claims by turns: principals share what is claimed, priorities order it, and neither breaks the order of a slice."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from msgspec import structs

from storage.base.ids import ChangesetId
from storage.base.settings import Settings
from storage.log.facts import digest_of
from storage.log.manifest import Changeset
from storage.log.records import Submitter
from storage.queue.queue import Queue
from storage.queue.states import Claimed
from tests.support.queue_bench import QueueBench

# What few lines say, an hour of claims would not change: no principal stops to count as active.
FOREVER = 3600.0


@pytest.fixture
def bench(redis_settings: Settings) -> QueueBench:
    return QueueBench(replace(redis_settings, lock_ttl=300.0, principal_active=FOREVER))


def put(bench: QueueBench, by: str, where: str, *paths: str, count: int = 1, **more: object) -> list[ChangesetId]:
    """Queue changesets of a principal."""
    made = [with_principal(bench.made(where, *paths), by, **more) for _ in range(count)]
    bench.queue.enqueue([(changeset, b"{}") for changeset in made])
    return [changeset.id for changeset in made]


def with_principal(changeset: Changeset, by: str, **more: object) -> Changeset:
    return structs.replace(changeset, by=Submitter(principal=by), **more)  # type: ignore[arg-type]


def claim(bench: QueueBench, most: int = 8, share: int = 4, owner: str = "me", **changed: object) -> list[Claimed]:
    """Claim and decide a batch."""
    settings = replace(bench.settings, commit_changesets=most, commit_share=share, **changed)  # type: ignore[arg-type]
    found = Queue(settings, bench.view, bench.archive).claim(owner)
    for each in found:
        bench.decide(each.id, each.slice)
    bench.queue.release(owner, found)
    return found


def ids(found: Sequence[Claimed]) -> list[str]:
    return [each.id for each in found]


@pytest.mark.parametrize("where", ["S0", "S1"], ids=["same-slice", "another-slice"])
def test_one_change_does_not_wait_behind_a_flood(bench: QueueBench, where: str) -> None:
    flood = put(bench, "user:flood", "S0", "a", count=60)
    claim(bench)
    [one] = put(bench, "user:ada", where, "b")
    taken = [ids(claim(bench)) for _ in range(2)]
    assert one in taken[0] or one in taken[1], "every eighth claim goes by age"
    assert all(len(set(each) & set(flood)) <= 4 for each in taken if one in each)


def test_one_change_does_not_wait_behind_a_flood_of_many_slices(redis_settings: Settings) -> None:
    bench = QueueBench(replace(redis_settings, lock_ttl=300.0, principal_active=FOREVER), slices=40)
    for where in bench.slices[:-1]:
        put(bench, "user:flood", where, where, count=3)
    claim(bench, commit_slices=2)
    [one] = put(bench, "user:ada", "S39", "b")
    assert one in ids(claim(bench, commit_slices=2)) + ids(claim(bench, commit_slices=2))


def test_principals_have_equal_parts_and_what_one_does_not_need_is_the_others(bench: QueueBench) -> None:
    first, second = (put(bench, f"user:{name}", "S0", name, count=20) for name in ("a", "b"))
    [third] = put(bench, "user:c", "S1", "c")
    found = ids(claim(bench, most=9, share=9))
    assert third in found and len(found) == 9
    assert len(set(found) & set(first)) >= 3 and len(set(found) & set(second)) >= 3


def test_a_principal_alone_is_claimed_by_age_and_in_large_batches(bench: QueueBench) -> None:
    made = put(bench, "user:flood", "S0", "a", count=40)
    assert ids(bench.queue.claim("me", most=4, most_of_many=100)) == made[:10]


def test_the_higher_priority_comes_first_and_the_lower_last(bench: QueueBench) -> None:
    usual = put(bench, "user:a", "S0", "a", count=2)
    [late] = put(bench, "user:a", "S0", "b", priority=-1)
    [early] = put(bench, "user:a", "S0", "c", priority=1)
    more = put(bench, "user:a", "S0", "d", count=2)
    assert [each for _ in range(7) for each in ids(claim(bench, most=1))] == [early, *usual, *more, late]
    assert bench.view.redis.zcard(bench.view.prefix + "prioritized") == 0


def test_a_priority_brings_along_what_has_to_come_before(bench: QueueBench) -> None:
    put(bench, "user:a", "S0", "other", count=5)
    [older] = put(bench, "user:b", "S0", "shared")
    [base] = put(bench, "user:a", "S0", "base")
    put(bench, "user:a", "S0", "more", count=5)
    [urgent] = put(bench, "user:a", "S0", "shared", "mine", priority=9, base_changeset=base)
    assert ids(claim(bench, most=3)) == [base, older, urgent]


def test_a_changeset_of_very_many_files_is_not_overtaken(bench: QueueBench) -> None:
    [first] = put(bench, "user:a", "S0", "x")
    [wide] = put(bench, "user:a", "S0", *(f"f{i}" for i in range(1001)))
    [urgent] = put(bench, "user:a", "S0", "f7", priority=50)
    assert ids(claim(bench)) == [first, wide, urgent]


def test_an_older_one_that_cannot_be_decided_stops_nobody(bench: QueueBench) -> None:
    [missing] = put(bench, "user:a", "S1", "base", hold=True)
    put(bench, "user:a", "S0", "shared", base_changeset=missing)
    put(bench, "user:a", "S0", "shared", hold=True)
    [free] = put(bench, "user:b", "S0", "shared")
    assert ids(claim(bench)) == [free]


def test_a_low_priority_is_claimed_though_others_never_stop(bench: QueueBench) -> None:
    [low] = put(bench, "user:a", "S0", "low", priority=-100)
    for number in range(16):
        put(bench, "user:b", "S0", f"f{number}", count=2)
        if low in ids(claim(bench, most=1)):
            return
    pytest.fail("it starves")


def test_turns_that_claims_have_reached_are_worth_steps_of_priority(redis_settings: Settings) -> None:
    bench = QueueBench(replace(redis_settings, lock_ttl=300.0, principal_active=FOREVER, priority_turns=3))
    [low] = put(bench, "user:a", "S0", "low", priority=-1)
    seen = []
    for number in range(7):
        put(bench, "user:b", "S0", f"f{number}", count=4)
        seen += ids(claim(bench, most=2, share=2))
        if low in seen:
            break
    assert low in seen, "3 turns later it is as any other"


def count_of(bench: QueueBench, by: str) -> int:
    return bench.queue.admit(principals=[by]).waiting_of[by]


def test_what_a_principal_has_waiting_follows_from_the_queues(bench: QueueBench) -> None:
    put(bench, "user:a", "S0", "a", count=3)
    [held] = put(bench, "user:a", "S0", "b", hold=True)
    put(bench, "user:b", "S1", "c")
    assert (count_of(bench, "user:a"), count_of(bench, "user:b"), count_of(bench, "user:c")) == (4, 1, 0)
    claim(bench)
    assert (count_of(bench, "user:a"), count_of(bench, "user:b")) == (1, 0), "the held one"
    bench.decide(held, "S0", "abandoned")
    bench.queue.drop_decided([held])
    assert count_of(bench, "user:a") == 0


def test_what_an_older_version_took_out_of_the_queues_does_not_count_for_long(bench: QueueBench) -> None:
    [one] = put(bench, "user:a", "S0", "a")
    redis, prefix = bench.view.redis, bench.view.prefix
    redis.delete(f"{prefix}work:{one}")
    for key in ("queue:S0", "queued"):
        redis.zrem(prefix + key, one)
    assert count_of(bench, "user:a") == 1
    assert (bench.queue.forget_stale(), count_of(bench, "user:a")) == (1, 0)
    [other] = put(bench, "user:b", "S0", "b")
    put(bench, "user:c", "S0", "c")
    assert other in ids(claim(bench)), "its id among the turns is passed over"


@pytest.mark.parametrize("newest_first", [True, False])
def test_what_an_older_version_decided_does_not_stay_in_lists(bench: QueueBench, newest_first: bool) -> None:
    made = put(bench, "user:a", "S0", "a", count=9)
    digest, redis, prefix = digest_of("submitter", "user:a"), bench.view.redis, bench.view.prefix
    left = [made[0], made[4], made[8]]
    redis.delete(*(f"{prefix}work:{each}" for each in made if each not in left))
    expected = left[::-1] if newest_first else left
    assert bench.queue.undecided("", 2, newest_first, digest=digest) == expected[:2]
    assert bench.queue.undecided(expected[1], 2, newest_first, digest=digest) == expected[2:]
    assert redis.zcard(prefix.encode() + b"of:" + digest) == 3


def test_what_a_worker_decided_and_did_not_release_is_forgotten_as_a_whole(bench: QueueBench) -> None:
    [decided] = put(bench, "user:a", "S0", "a", labels={"ticket": "A-1"})
    [other] = put(bench, "user:b", "S0", "b")
    bench.decide(decided, "S0")
    assert ids(claim(bench)) == [other]
    left = {key.removeprefix(bench.view.prefix.encode()) for key in bench.view.redis.scan_iter(bench.view.prefix + "*")}
    assert not [key for key in left if key.startswith((b"of:", b"on:", b"work:", b"order:", b"queued"))]


def test_a_principal_without_work_is_forgotten(redis_settings: Settings) -> None:
    bench = QueueBench(replace(redis_settings, lock_ttl=300.0, principal_active=0.01))
    put(bench, "user:a", "S0", "a")
    claim(bench)
    time.sleep(0.02)
    bench.queue.forget_stale()
    assert not bench.view.redis.exists(bench.view.prefix + "principals")


def test_what_an_older_version_queued_is_claimed_too(bench: QueueBench) -> None:
    [old] = put(bench, "user:a", "S0", "a")
    for key in ("order:S0", "heads", "queued_by:user:a"):
        bench.view.redis.delete(bench.view.prefix + key)
    bench.view.redis.hdel(f"{bench.view.prefix}work:{old}", "by")
    put(bench, "user:b", "S1", "b", count=2)
    put(bench, "user:c", "S2", "c", count=2)
    assert old in [each for _ in range(8) for each in ids(claim(bench))]


class Model:
    """The order that is promised, found out slowly: what may not be decided before what."""

    def __init__(self, changesets: Sequence[Changeset]) -> None:
        self.by_id = {each.id: each for each in changesets}
        self.decided: list[str] = []

    def possible(self, changeset: Changeset) -> bool:
        """Whether a changeset could be decided now, with what it stands on that is queued in its slice."""
        base = changeset.base_changeset
        if base is None or base in self.decided:
            return True
        return self.by_id[base].slice == changeset.slice and self.possible(self.by_id[base])

    def decide(self, id_: str) -> None:
        changeset = self.by_id[id_]
        base = changeset.base_changeset
        assert base is None or base in self.decided, "before its base"
        paths = {change.path for change in changeset.changes}
        for other in self.by_id.values():
            if other.id >= id_ or other.slice != changeset.slice or other.id in self.decided:
                continue
            if self.possible(other):
                assert not paths & {change.path for change in other.changes}, f"{id_} before {other.id}"
        self.decided.append(id_)


@pytest.mark.parametrize("seed", range(8))
def test_any_mix_is_decided_in_the_promised_order_and_nothing_starves(bench: QueueBench, seed: int) -> None:
    rng, made = random.Random(seed), list[Changeset]()
    model, claims, most = Model(made), 0, rng.choice([2, 5, 20])

    def submit(count: int) -> None:
        group = []
        for _ in range(count):
            where = rng.choice(bench.slices)
            paths = [f"{where}/{rng.randrange(12)}" for _ in range(rng.choice([1, 1, 2]))]
            one = bench.made(where, *dict.fromkeys(paths))
            base = rng.choice(made).id if made and rng.random() < 0.3 else None
            priority = rng.choice([0, 0, 0, rng.randrange(-100, 101)])
            by = rng.choice(["user:flood"] * 6 + ["user:a", "user:b"])
            group.append(with_principal(one, by, priority=priority, base_changeset=base))
            made.append(group[-1])
            model.by_id[one.id] = group[-1]
        rng.shuffle(group)  # packs of several processes do not come in order
        bench.queue.enqueue([(changeset, b"{}") for changeset in group])

    submit(60)
    while len(model.decided) < len(made):
        claims += 1
        assert claims < 400, f"{len(made) - len(model.decided)} are never claimed"
        if len(made) < 150:
            submit(rng.randrange(4))
        for each in claim(bench, most=most, share=rng.choice([1, 3, 50]), commit_slices=rng.choice([1, 3])):
            model.decide(each.id)
    assert bench.queue.length() == 0
    left = {key.removeprefix(bench.view.prefix.encode()) for key in bench.view.redis.scan_iter(bench.view.prefix + "*")}
    names = (b"order:", b"heads", b"queued", b"prioritized", b"on:", b"wide:", b"held")
    assert not [key for key in left if key.startswith(names)]


def test_no_claim_has_many_of_one_principal_while_another_is_active(bench: QueueBench) -> None:
    put(bench, "user:flood", "S0", "a", count=60)
    put(bench, "user:ada", "S1", "b")
    sizes = [len(claim(bench, most=20, share=3)) for _ in range(16)]
    assert max(sizes) <= 4 and min(sizes) >= 3, "those by age as well"
