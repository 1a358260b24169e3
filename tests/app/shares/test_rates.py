"""The rates of principals over several processes, which tell each other now and then."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

import pytest
from redis.exceptions import ConnectionError as RedisAway

from app.access.caller import EVERYBODY, Caller
from app.shares.rates import Rates
from storage.access.policy import ROOT, Quota
from storage.access.rights import ALL
from storage.base.settings import Settings
from storage.coordination import RequestCounts
from tests.support.queue_bench import QueueBench
from tests.support.waiting import await_true

SLOW = Caller("user:slow", ALL, quota=Quota(requests_per_second=10))


class Shared:
    """The counts of all processes, and the time."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self.now = 0.0
        self.away = False

    def add(self, counted: Mapping[str, int]) -> dict[str, int]:
        if self.away:
            raise RedisAway("away")
        self.counts.update(counted)
        return {name: self.counts[name] for name in counted}

    def processes(self, count: int) -> list[Rates]:
        return [Rates(Settings(principal_burst=2.0), self.add, lambda: self.now) for _ in range(count)]


def sent(rates: Rates, who: Caller, times: int) -> int:
    return sum(bool((standing := rates.take(who)) and standing.allowed) for _ in range(times))


def test_a_principals_rate_is_that_of_all_processes_together() -> None:
    shared = Shared()
    processes, let_through, seconds = shared.processes(3), 0, 60
    for _ in range(seconds):
        for rates in processes:
            let_through += sent(rates, SLOW, 100)
            rates.exchange()
        shared.now += 1
    # Each may let a burst through before it hears of the others'; that is owed.
    assert 10 * (seconds - 1) <= let_through <= 10 * seconds + 3 * 20


def test_each_process_keeps_to_the_rate_while_redis_is_away() -> None:
    shared = Shared()
    shared.away = True
    [rates] = shared.processes(1)
    assert sent(rates, SLOW, 100) == 20
    with pytest.raises(RedisAway):
        rates.exchange()
    shared.now += 1
    assert sent(rates, SLOW, 100) == 10


def test_counts_that_were_lost_charge_nobody() -> None:
    shared = Shared()
    first, second = shared.processes(2)
    for rates in (first, second, first):
        sent(rates, SLOW, 5)
        rates.exchange()
    shared.counts.clear()
    shared.now += 100
    for rates in (first, second):
        assert sent(rates, SLOW, 5) == 5
        rates.exchange()
        standing = rates.show(SLOW)
        assert standing and standing.remaining == 15


def test_who_has_sent_nothing_for_a_while_takes_no_memory() -> None:
    shared = Shared()
    [rates] = shared.processes(1)
    for number in range(100):
        rates.take(Caller(f"user:{number}", ALL))
    rates.exchange()
    shared.now += 100
    rates.exchange()
    assert not rates._buckets and not rates._totals


@pytest.mark.parametrize(
    "who", [EVERYBODY, Caller(ROOT, ALL), Caller("user:a", ALL, quota=Quota(requests_per_second=0))]
)
def test_nobody_without_tokens_nor_root_nor_who_has_no_limit_is_counted(who: Caller) -> None:
    [rates] = Shared().processes(1)
    assert rates.take(who) is None and rates.show(who) is None


def test_the_thread_tells_the_others_by_redis(redis_settings: Settings) -> None:
    bench = QueueBench(redis_settings)
    settings = Settings(principal_rate_exchange=0.01, principal_rate=5, principal_burst=2.0)
    now = threading.local()  # a clock that stands still
    processes = [Rates(settings, RequestCounts(bench.view).add, lambda: getattr(now, "at", 0.0)) for _ in range(2)]
    who = Caller("user:a", ALL)
    try:
        for rates in processes:
            rates.start()
            rates.take(who)
        await_true(lambda: bench.view.redis.hget(bench.view.prefix + "requests", "user:a") == b"2")
        processes[0].take(who)
        await_true(lambda: (standing := processes[1].show(who)) is not None and standing.remaining <= 8)
    finally:
        for rates in processes:
            rates.stop()
