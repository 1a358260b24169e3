"""Budgets: how long all calls of one request or one batch may take together.

Each call of Redis or of the bucket has a time-out and a few retries of its own, and many such calls in a row would add
up. So whoever answers a request or runs a batch opens a budget, and every call below it takes no longer than what is
left of it; with nothing left, it is not made. Where no budget is open (threads of the API's own, the command line),
each call has its own time-outs alone.

A budget is of one greenlet or thread and of the calls that these hand to others (`Bucket.together`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Spent(Exception):
    """The calls of a request or a batch took longer, together, than its budget; what was asked last was not done."""


class Budget:
    """Seconds for all calls; counted from the first one, so that reading a slow client's body costs nothing."""

    def __init__(self, name: str, seconds: float) -> None:
        """`name` is the setting that the seconds come from."""
        self.name = name
        self.seconds = seconds
        self._until: float | None = None

    def left(self) -> float:
        """Return what is left, below 0 where it is spent."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + self.seconds
        return self._until - now

    def extend(self, seconds: float) -> None:
        """Add time that was spent on waiting for something else than an answer."""
        if self._until is not None:
            self._until += seconds


_CURRENT: ContextVar[Budget | None] = ContextVar("budget", default=None)


def set_current(budget: Budget | None) -> None:
    """Open `budget`, or none, for what follows in this greenlet or thread."""
    _CURRENT.set(budget)


@contextmanager
def budget(name: str, seconds: float) -> Iterator[None]:
    """Give the calls in this block a budget of their own, whatever is left of the one around it."""
    before = _CURRENT.get()
    _CURRENT.set(Budget(name, seconds))
    try:
        yield
    finally:
        _CURRENT.set(before)


@contextmanager
def waiting() -> Iterator[None]:
    """Let this block cost the budget nothing: a long poll waits for news, not for an answer."""
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
