"""Long polls: requests that wait for changesets, woken by what `apply` publishes.

One thread asks Redis for all of them at once, so the cost depends on applied entries, not on waiting requests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import redis
import structlog

from storage.backends import deadline
from storage.backends.primary import RENEWED_EVERY
from storage.backends.redis_client import UNAVAILABLE
from storage.base.batched import batched
from storage.queue.states import ChangesetState
from storage.repository import Repository

log = structlog.get_logger()

# Without news, waiters are looked at so often anyway: a message of Redis may be lost.
_AT_LEAST_EVERY = 1.0
_MAX_AT_ONCE = 1000
_PAUSE = 0.2  # seconds before it listens again

Wanted = Callable[[ChangesetState], bool]


@dataclass(eq=False, slots=True)
class _Waiter:
    changeset: str
    wanted: Wanted
    woken: threading.Event = field(default_factory=threading.Event)


class Waiting:
    """The requests of this process that wait."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._waiters: set[_Waiter] = set()
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._leaving = False
        threading.Thread(target=self._run, name="waiting", daemon=True).start()

    def wait(self, changeset: str, seconds: float, wanted: Wanted) -> None:
        """Return when `wanted` holds for a changeset's state, or after `seconds`; the caller looks itself.

        Earlier where this process stops.
        """
        waiter = _Waiter(changeset, wanted)
        with self._lock:
            if self._leaving:
                return
            self._waiters.add(waiter)
            self._some.set()
        try:
            # Decided between the caller's look and now, it would have to wait for the next piece of news.
            _, [now] = self._repo.queue.states([changeset])
            if not wanted(now):
                with deadline.waiting():
                    waiter.woken.wait(seconds)
        finally:
            with self._lock:
                self._waiters.discard(waiter)
                if not self._waiters:
                    self._some.clear()

    def leave(self) -> None:
        """End all waits: the requests are answered with the current states."""
        with self._lock:
            self._leaving = True
            for waiter in self._waiters:
                waiter.woken.set()

    def _run(self) -> None:
        while True:
            try:
                with self._repo.redis.pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(self._repo.view.applied_channel)
                    self._listen(channel)
                continue
            except UNAVAILABLE as error:
                log.info("waiting_interrupted", reason=str(error))
            except Exception:
                log.exception("waiting_failed")  # for one of them, perhaps, and others wait
            time.sleep(_PAUSE)  # Redis is away or empty; there is no event to wait for

    def _listen(self, channel: redis.client.PubSub) -> None:
        until = time.monotonic() + RENEWED_EVERY
        while True:
            self._some.wait()
            if time.monotonic() > until:
                return
            self._look()
            if channel.get_message(timeout=_AT_LEAST_EVERY) is not None:
                # Several entries may have been applied by now: one look serves them all.
                while channel.get_message(timeout=0) is not None:
                    continue

    def _look(self) -> None:
        with self._lock:
            waiters = list(self._waiters)
        for chunk in batched(waiters, _MAX_AT_ONCE):
            _, states = self._repo.queue.states([waiter.changeset for waiter in chunk])
            for waiter, state in zip(chunk, states, strict=True):
                if waiter.wanted(state):
                    waiter.woken.set()
