"""The counts of this process since they were last taken, as whole numbers that can be added to those of others.

There is one object for a process, since what is counted happens in every part of it. A fork begins with nothing: what
its parent has counted is the parent's to report.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections.abc import Mapping

from storage.metrics.definitions import MIRRORS, WEBHOOKS, Counter, Histogram

Key = tuple[str, tuple[str, ...], str]
"""A metric's name, its labels' values, and of a histogram the bound of a bucket, or SUM."""
Counted = Mapping[Key, int]

SUM = "sum"


class Counts:
    """Counters and histograms. Safe for threads, greenlets and forks."""

    def __init__(self) -> None:
        self._begin_anew()

    def _begin_anew(self) -> None:
        # With a lock of its own: a thread that a fork does not have may have held it.
        self._lock = threading.Lock()
        self._counted: dict[Key, int] = {}

    def add(self, metric: Counter, *labels: str, count: int = 1) -> None:
        """Count something `count` times."""
        key = (metric.name, labels, "")
        with self._lock:
            self._counted[key] = self._counted.get(key, 0) + count

    def observe(self, metric: Histogram, value: float, *labels: str, times: int = 1) -> None:
        """Count a value that was measured `times` times."""
        bucket = (metric.name, labels, metric.buckets[bisect_left(metric.bounds, value)])
        total = (metric.name, labels, SUM)
        amount = times * round(value * metric.scale)
        with self._lock:
            counted = self._counted
            counted[bucket] = counted.get(bucket, 0) + times
            counted[total] = counted.get(total, 0) + amount

    def take(self) -> Counted:
        """Return what was counted since this was called last."""
        with self._lock:
            taken, self._counted = self._counted, {}
        return taken

    def take_over(self, counted: Counted) -> None:
        """Add what another process has counted, which will not report it itself."""
        with self._lock:
            for key, count in counted.items():
                self._counted[key] = self._counted.get(key, 0) + count


COUNTS = Counts()
os.register_at_fork(after_in_child=COUNTS._begin_anew)


def webhook_delivered(outcome: str) -> None:
    """Count a delivery to a webhook that ended: `delivered`, `failed` or `disabled`."""
    COUNTS.add(WEBHOOKS, outcome)


def mirror_ran(outcome: str) -> None:
    """Count a look at a mirror's server that ended: `pushed`, `current`, `failed` or `diverged`."""
    COUNTS.add(MIRRORS, outcome)
