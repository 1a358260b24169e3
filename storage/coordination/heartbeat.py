"""The heartbeat of a process: a thread that renews the leases of all owners of locks in it, by one call to Redis.

So an owner that a slow store delays keeps its locks and its claim, however short a lease is, and those of a process
that died, hangs or is stopped end after `lock_ttl`. Owners renew nothing themselves: no call of theirs has to be short.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any

import structlog

from storage.backends.redis_client import UNAVAILABLE, connect
from storage.base.settings import Settings
from storage.view.view import View

log = structlog.get_logger()

# Times that a lease is renewed before it would expire: two renewals may come late or be lost.
_PER_LEASE = 4
# Without an owner for so many seconds the thread ends; the next owner starts another. So does the first after a fork.
_IDLE = 5.0
# The least that Redis is given for an answer (seconds).
_LEAST_PATIENCE = 1.0


class Heartbeat:
    """The owners of locks in this process, and the messages that it is working on. Safe for threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.ttl = max(1, int(settings.lock_ttl * 1000))
        """The life of a lease in milliseconds."""
        self._every = settings.lock_ttl / _PER_LEASE
        self._owners: Counter[str] = Counter()
        self._messages: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        # No renewal is on its way. An event and no lock, which a signal's exception might leave locked.
        self._quiet = threading.Event()
        self._quiet.set()
        self._thread: threading.Thread | None = None

    @contextmanager
    def of(self, owner: str) -> Iterator[None]:
        """Renew the lease of an owner during this block; whoever takes a lock begins it.

        Afterwards no renewal is on its way, unless Redis takes long to answer.
        """
        try:
            with self._kept(self._owners, owner):
                yield
        finally:
            # One that is on its way would begin the lease again after its owner has ended it.
            self._quiet.wait(_LEAST_PATIENCE)

    @contextmanager
    def of_message(self, kind: str, token: str) -> Iterator[None]:
        """Count a message (Queue.ask) as outstanding during this block, however long that is; "" is none."""
        with self._kept(self._messages, (kind, token)):
            yield

    @contextmanager
    def _kept(self, counts: Counter[Any], item: Any) -> Iterator[None]:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
                self._thread.start()
            counts[item] += 1  # behind what may fail: nobody would take it back
        try:
            yield
        finally:
            with self._lock:
                counts[item] -= 1
                if not counts[item]:
                    del counts[item]

    def _run(self) -> None:
        # Connections of its own, which nobody else uses up: one that does not answer is left while the leases live.
        patience = min(self._settings.redis_timeout, max(_LEAST_PATIENCE, self._settings.lock_ttl / 2))
        short = replace(self._settings, redis_timeout=patience, redis_connections=2)
        view = View(short, connect(short))
        busy = time.monotonic()
        while True:
            time.sleep(min(1.0, max(0.05, self._every)))
            now = time.monotonic()
            with self._lock:
                owners, messages = list(self._owners), [name for name in self._messages if name[1]]
                if owners or messages:
                    busy = now
                    self._quiet.clear()
                elif now - busy > _IDLE:
                    self._thread = None
                    return
            if owners or messages:
                try:
                    self._beat(view, owners, messages)
                finally:
                    self._quiet.set()

    def _beat(self, view: View, owners: list[str], messages: list[tuple[str, str]]) -> None:
        message_ttl = int(self._settings.message_ttl * 1000)
        try:
            view.scripts("beat", self.ttl, message_ttl, len(owners), *owners, *chain.from_iterable(messages))
        except UNAVAILABLE as error:
            log.warning("leases_not_renewed", owners=owners, reason=str(error))
