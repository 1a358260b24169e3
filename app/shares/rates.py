"""Requests a second of each principal, over all API processes.

Each process counts for itself, so a request costs no call of Redis. A thread tells the others every
`principal_rate_exchange` seconds how many requests came here, and takes what came to them off the buckets here. So a
principal that asks several processes at once may get what its bucket holds from each of them once; that is owed, and
on average it gets its rate. Where Redis is away, each process keeps to the rate by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import structlog

from app.access.caller import Caller
from app.shares.bucket import Bucket, Standing
from app.shares.limits import QuotaReached, limits_of
from storage.backends.redis_client import UNAVAILABLE
from storage.base.settings import Settings

Exchange = Callable[[Mapping[str, int]], Mapping[str, int]]
"""Adds to the counts of all processes, and returns what these are now: RequestCounts.add."""

log = structlog.get_logger()


class Rates:
    """The rates of one process. Safe for threads."""

    def __init__(self, settings: Settings, exchange: Exchange, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._exchange = exchange
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._counted: dict[str, int] = {}  # since the last exchange
        self._totals: dict[str, int] = {}  # of all processes, at the last exchange
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # something is to be told, or the end has come
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="rates", daemon=True)

    def start(self) -> None:
        """Start the thread that tells the others."""
        self._thread.start()

    def stop(self) -> None:
        """End it; returns when it has ended."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    def take(self, who: Caller) -> Standing | None:
        """Count a request of a caller, if it is allowed; None where its rate has no limit."""
        rate = limits_of(self._settings, who).requests_per_second
        if not rate:
            return None
        now = self._clock()
        with self._lock:
            bucket = self._bucket(who.principal, rate, now)
            standing = bucket.take(now)
            if standing.allowed:
                self._counted[who.principal] = self._counted.get(who.principal, 0) + 1
            return standing

    def show(self, who: Caller) -> Standing | None:
        """Tell how a caller stands, and count nothing; None where its rate has no limit."""
        rate = limits_of(self._settings, who).requests_per_second
        if not rate:
            return None
        now = self._clock()
        with self._lock:
            return self._bucket(who.principal, rate, now).show(now)

    def exchange(self) -> None:
        """Tell the others what was counted here, and count what they did. Raises RedisError."""
        with self._lock:
            counted, self._counted = self._counted, {}
            asked = {name: counted.get(name, 0) for name in self._buckets}
        if not asked:
            return
        totals = self._exchange(asked)
        now = self._clock()
        with self._lock:
            for name, total in totals.items():
                before, own = self._totals.get(name), asked[name]
                # Lower than it must be: the counts were lost meanwhile.
                others = 0 if before is None or total < before + own else total - before - own
                self._totals[name] = total
                if name in self._buckets and others:
                    self._buckets[name].charge(others, now)
            for name in [name for name, bucket in self._buckets.items() if bucket.is_full(now)]:
                if name not in self._counted:
                    del self._buckets[name]
                    self._totals.pop(name, None)

    def _bucket(self, principal: str, rate: float, now: float) -> Bucket:
        bucket = self._buckets.get(principal)
        if bucket is None:
            bucket = self._buckets[principal] = Bucket(rate, self._settings.principal_burst, now)
            self._changed.notify_all()
        bucket.change(rate, now)
        return bucket

    def _is_needed(self) -> bool:
        """Wait until it is time for an exchange; tell whether it is, or the end has come."""
        with self._changed:
            self._changed.wait_for(lambda: self._buckets or self._stopping)
            return not self._changed.wait_for(lambda: self._stopping, self._settings.principal_rate_exchange)

    def _run(self) -> None:
        while self._is_needed():
            try:
                self.exchange()
            except UNAVAILABLE as error:
                log.info("rates_not_exchanged", reason=str(error))
            except Exception:
                log.exception("rates_not_exchanged")  # each process keeps to the rates by itself


def refusal(who: Caller, rate: float, standing: Standing) -> QuotaReached:
    """Return why a request is not let through."""
    detail = f"{who.principal} has sent more than {rate:g} requests a second (requests_per_second)"
    return QuotaReached(detail, "requests_per_second", rate, standing.reset)
