"""Long polls: requests that wait for changesets, woken by what `apply` publishes.

One thread asks Redis for all of them at once, so the cost depends on applied entries, not on waiting requests.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from app.service.applied_feed import AppliedFeed
from storage.backends import deadline
from storage.base.batched import batched
from storage.queue import ChangesetState
from storage.repository import Repository

_MAX_AT_ONCE = 1000

Wanted = Callable[[ChangesetState], bool]


@dataclass(eq=False, slots=True)
class _Waiter:
    changeset: str
    wanted: Wanted
    woken: threading.Event = field(default_factory=threading.Event)


class Waiting:
    """The requests of this process that wait."""

    def __init__(self, repo: Repository, on_news: Callable[[], None] = lambda: None) -> None:
        """Begin; `on_news` is called before anything else where entries may have been applied."""
        self._repo = repo
        self._on_news = on_news
        self._waiters: set[_Waiter] = set()
        self._lock = threading.Lock()
        self._leaving = False
        self.feed = AppliedFeed(repo, "waiting", self._look)

    @property
    def count(self) -> int:
        """How many requests wait."""
        return len(self._waiters)

    def wait(self, changeset: str, seconds: float, wanted: Wanted) -> None:
        """Return when `wanted` holds for a changeset's state, or after `seconds`; the caller looks itself.

        Earlier where this process stops.
        """
        waiter = _Waiter(changeset, wanted)
        with self._lock:
            if self._leaving:
                return
            self._waiters.add(waiter)
        self.feed.enter()
        try:
            # Decided between the caller's look and now, it would have to wait for the next piece of news.
            _, [now] = self._repo.queue.states([changeset])
            if not wanted(now):
                with deadline.waiting():
                    waiter.woken.wait(seconds)
        finally:
            with self._lock:
                self._waiters.discard(waiter)
            self.feed.leave()

    def leave(self) -> None:
        """End all waits: the requests are answered with the current states."""
        with self._lock:
            self._leaving = True
            for waiter in self._waiters:
                waiter.woken.set()

    def _look(self) -> None:
        self._on_news()
        with self._lock:
            waiters = list(self._waiters)
        for chunk in batched(waiters, _MAX_AT_ONCE):
            _, states = self._repo.queue.states([waiter.changeset for waiter in chunk])
            for waiter, state in zip(chunk, states, strict=True):
                if waiter.wanted(state):
                    waiter.woken.set()
