"""Budgets: how long all calls of one request or one batch may take together.

Each call of Redis or of the bucket has a time-out and a few retries of its own, and many such calls in a row would add
up. So a request or a batch opens a budget, and every call inside it may take what is left of it; once nothing is left,
no call is made. Without an open budget (the API's own threads, the command line), calls have only their own time-outs.

A budget belongs to one greenlet or thread, and to calls that it runs in others (`Bucket.map_concurrently`).

Each call also reports how long it took. So `Budget.was_held_up` can say whether a budget was spent because servers
were slow, or because the batch was too large.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from storage.base.errors import Unavailable
from storage.metrics.counts import COUNTS
from storage.metrics.definitions import CALL_ERRORS, CALL_SECONDS

# Bytes a second that a call may carry without being slow, beside what any call may take.
SLOW_BYTES = 8 << 20
# The share of a budget in slow calls from which on the servers are to blame where it is spent.
_HELD_UP = 0.1


class Spent(Unavailable):
    """The calls of a request or a batch took longer, together, than its budget; what was asked last was not done."""


class Budget:
    """Seconds for all calls; counted from the first one, so that reading a slow client's body costs nothing."""

    def __init__(self, name: str, seconds: float, slow_call: float = math.inf) -> None:
        """`name` is the setting that the seconds come from; a call that takes more than `slow_call` seconds is slow."""
        self.name = name
        self.seconds = seconds
        self._slow_call = slow_call
        self._until: float | None = None
        self._slow: list[tuple[float, float]] = []  # when slow calls began and ended

    def left(self) -> float:
        """Return what is left, below 0 where it is spent."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + self.seconds
        return self._until - now

    @property
    def used(self) -> float:
        """The share of it that is used, above 1 where it was overdrawn."""
        return 1 - self.left() / self.seconds

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self.left() <= 0

    def extend(self, seconds: float) -> None:
        """Add time that was spent on waiting for something else than an answer."""
        if self._until is not None:
            self._until += seconds

    def took(self, started: float, size: int) -> None:
        """Count a call that ends now and transferred `size` bytes. Safe for threads."""
        ended = time.monotonic()
        if ended - started > self._slow_call + size / SLOW_BYTES:
            self._slow.append((started, ended))

    @property
    def was_held_up(self) -> bool:
        """Whether slow calls took so much of the time that the batch is not to blame for being late."""
        slow, until = 0.0, -math.inf
        for started, ended in sorted(self._slow):
            # Calls that are made at once hold up no longer than one of them.
            slow += max(0.0, ended - max(started, until))
            until = max(until, ended)
        return slow >= self.used * self.seconds * _HELD_UP


_CURRENT: ContextVar[Budget | None] = ContextVar("budget", default=None)
_NO_CALLS: ContextVar[bool] = ContextVar("no_calls", default=False)


def set_current(budget: Budget | None) -> None:
    """Open `budget`, or none, for the calls that follow in this greenlet or thread."""
    _CURRENT.set(budget)


@contextmanager
def budget(name: str, seconds: float, slow_call: float = math.inf) -> Iterator[Budget]:
    """Give the calls in this block a budget of their own, whatever is left of the one around it."""
    before, own = _CURRENT.get(), Budget(name, seconds, slow_call)
    _CURRENT.set(own)
    try:
        yield own
    finally:
        _CURRENT.set(before)


class Call:
    """A block that calls a server, counted by the budget and the metrics; `size` is how many bytes the call carries."""

    __slots__ = ("_answered", "_server", "_started", "size")

    def __init__(
        self, size: int = 0, server: str = "", answered: Callable[[BaseException], bool] = lambda _: False
    ) -> None:
        """`size` may also be set in the block; `answered` tells of an error whether the server answered with it.

        The metrics count calls of a named `server`, and those that failed otherwise.
        """
        self.size = size
        self._server = server
        self._answered = answered

    def __enter__(self) -> Call:
        self._started = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if _NO_CALLS.get() and error is None:
            return
        current = _CURRENT.get()
        if current is not None:
            current.took(self._started, self.size)
        if self._server:
            COUNTS.observe(CALL_SECONDS, time.monotonic() - self._started, self._server)
            if error is not None and not self._answered(error):
                COUNTS.add(CALL_ERRORS, self._server, type(error).__name__)


@contextmanager
def no_calls() -> Iterator[None]:
    """Do not take the calls in this block for slow, nor count them: by them something else than a server is awaited."""
    token = _NO_CALLS.set(True)
    try:
        yield
    finally:
        _NO_CALLS.reset(token)


@contextmanager
def waiting() -> Iterator[None]:
    """Do not count this block against the budget: a long poll waits for an event, not for a server."""
    current = _CURRENT.get()
    started = time.monotonic()
    try:
        yield
    finally:
        if current is not None:
            current.extend(time.monotonic() - started)


def left(most: float = math.inf) -> float:
    """Return how many seconds a call may take: `most`, or what is left of the budget. Raises Spent."""
    current = _CURRENT.get()
    if current is None:
        return most
    rest = current.left()
    if rest <= 0:
        raise Spent(f"calls took more than {current.seconds:g} seconds together ({current.name})")
    return min(most, rest)
