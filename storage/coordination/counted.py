"""What all processes of a deployment have counted, added up in Redis.

Each process counts for itself (storage/metrics) and adds its counts to the sums in Redis once a second, and when it
ends. So the sums are of all API processes and all worker hosts, whoever is asked, and nobody has to reach a worker by
HTTP. A sum never goes down when a process ends: it is what was counted since the sums began. After a FLUSHALL they
begin with zero, which Prometheus takes for a restart. What a process that is killed has counted in its last second is
lost.

A report whose answer was lost is repeated under its number, and counts once.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from redis.exceptions import RedisError

from storage import __version__
from storage.backends.redis_client import connect
from storage.base.errors import Unavailable
from storage.base.ids import new_ulid
from storage.base.settings import Settings
from storage.metrics.counts import COUNTS, Counted, Key
from storage.view.view import View

# Seconds between two reports where something was counted, and where nothing was.
_EVERY, _IDLE_EVERY = 1.0, 3.0
# After so long without a report a process counts as gone.
_SILENCE_MS, _FORGOTTEN_MS = 10_000, 600_000
# A call of Redis that takes longer has failed; the next one is on another connection.
_PATIENCE = 2.0

Levels = Mapping[str, int]
"""What a process has at the moment, by name: event streams that are open, say."""


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """What a process said of itself last."""

    process: str  # what it is: api, commits, merges, beat, or one of these with `-tasks`: a child that runs tasks
    version: str
    levels: Levels = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sums:
    """The counts of all processes, and the processes that are at work."""

    counted: Counted
    processes: tuple[ProcessReport, ...]


def read_sums(view: View) -> Sums:
    """Return what was counted so far. Raises redis.RedisError."""
    counts, said = view.scripts("counted", _SILENCE_MS)
    names = iter(counts)
    return Sums(
        {_key_of(name): int(count) for name, count in zip(names, names, strict=True)},
        tuple([ProcessReport(*json.loads(each)) for each in said if each]),
    )


def _key_of(name: bytes) -> Key:
    metric, labels, bucket = json.loads(name)
    return metric, tuple(labels), bucket


class Reporter:
    """Adds what this process counts to the sums, from a thread of its own.

    The thread does not log: a child that is forked at that moment would inherit the logger's lock in its locked state.
    """

    def __init__(self, settings: Settings, process: str, levels: Callable[[], Levels] = dict) -> None:
        """`process` is what this process is; `levels` is asked before each report."""
        self._settings = replace(settings, redis_timeout=min(_PATIENCE, settings.redis_timeout), redis_connections=2)
        self._process = process
        self._levels = levels
        self._name = f"{os.getpid()}-{new_ulid()}"
        self._number = 0
        self._unsaid: Counted = {}  # of a report of which it is not known whether it was made
        self._reported = 0.0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._view: View | None = None
        self._thread = threading.Thread(target=self._run, name="counts", daemon=True)

    def start(self) -> None:
        """Begin, with a report from here: so the thread imports nothing, of which a fork would have half."""
        self.report()
        self._thread.start()

    def stop(self) -> None:
        """Report what is left, and end."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(2 * _PATIENCE)
        self.report(last=True)

    def _run(self) -> None:
        while not self._over.wait(_EVERY):
            self.report()

    def report(self, last: bool = False) -> None:
        """Add what was counted to the sums; what Redis does not take now is repeated by the next report."""
        with self._lock:
            if self._unsaid and not self._say(last=False):
                return
            self._unsaid = COUNTS.take()
            if self._unsaid or last or time.monotonic() - self._reported >= _IDLE_EVERY:
                self._number += 1
                self._say(last)

    def _say(self, last: bool) -> bool:
        """Make a report, or repeat it under its number; tell whether Redis has it."""
        said = "" if last else json.dumps([self._process, __version__, dict(self._levels())], separators=(",", ":"))
        counts = [(json.dumps(key, separators=(",", ":")), count) for key, count in self._unsaid.items()]
        try:
            self._sums().scripts("count", self._name, self._number, said, _FORGOTTEN_MS, *chain.from_iterable(counts))
        except (RedisError, OSError, Unavailable):
            return False
        self._unsaid, self._reported = {}, time.monotonic()
        return True

    def _sums(self) -> View:
        if self._view is None:
            self._view = View(self._settings, connect(self._settings, counted=False))
        return self._view
