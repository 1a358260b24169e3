"""The counts of this process since they were last taken, as whole numbers that can be added to those of others.

There is one object for a process, since what is counted happens in every part of it. A fork begins with nothing: what
its parent has counted is the parent's to report.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping

from storage.metrics.definitions import WEBHOOKS, Counter, Histogram

Key = tuple[str, tuple[str, ...], str]
"""A metric's name, its labels' values, and of a histogram the bound of a bucket, or SUM."""
Counted = Mapping[Key, int]

SUM = "sum"
ABOVE = "+Inf"
"""The bucket of what exceeds every bound."""


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
        self._add([((metric.name, labels, ""), count)])

    def observe(self, metric: Histogram, value: float, *labels: str, times: int = 1) -> None:
        """Count a value that was measured `times` times."""
        total = times * round(value * metric.scale)
        self._add([((metric.name, labels, _bucket(metric, value)), times), ((metric.name, labels, SUM), total)])

    def take(self) -> Counted:
        """Return what was counted since this was called last."""
        with self._lock:
            taken, self._counted = self._counted, {}
        return taken

    def take_over(self, counted: Counted) -> None:
        """Add what another process has counted, which will not report it itself."""
        self._add(counted.items())

    def _add(self, counted: Iterable[tuple[Key, int]]) -> None:
        with self._lock:
            for key, count in counted:
                self._counted[key] = self._counted.get(key, 0) + count


def _bucket(metric: Histogram, value: float) -> str:
    at = bisect_left(metric.bounds, value)
    return ABOVE if at == len(metric.bounds) else str(metric.bounds[at])


COUNTS = Counts()
os.register_at_fork(after_in_child=COUNTS._begin_anew)


def webhook_delivered(outcome: str) -> None:
    """Count a delivery to a webhook that ended: `delivered`, `failed` or `disabled`."""
    COUNTS.add(WEBHOOKS, outcome)
