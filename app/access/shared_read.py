"""One read for all who ask at the same time, and none for who asks a moment later."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from storage.backends import deadline
from storage.base.errors import Unavailable

T = TypeVar("T")


class OtherFailed(Unavailable):
    """Who may do what cannot be looked up at the moment: another request has just tried."""


class _Read(Generic[T]):
    """A read that is under way, and then what came of it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ended = threading.Event()
        self.value: T | None = None  # None also where it failed


class SharedRead(Generic[T]):
    """A value that is read again where it is older than `fresh` seconds. Safe for threads.

    While one thread reads, the others wait for it, each at most for what is left of its own budget: one after the other
    would wait for a mute server as many times as there are requests.
    """

    def __init__(self, read: Callable[[T | None], T], fresh: float) -> None:
        """`read` takes what was read before, if anything was."""
        self._read = read
        self._fresh = fresh
        self._lock = threading.Lock()
        self._latest: tuple[T, float] | None = None  # what was read last, and when that began
        self._ended: _Read[T] = _Read(0)  # the last one that did, successful or not
        self._under_way: _Read[T] | None = None
        self._news = 0

    def get(self) -> T:
        """Return the value, read at most `fresh` seconds ago, or since this was called.

        Raises what `read` raises; OtherFailed where it failed for another thread, and deadline.Spent.
        """
        latest = self._latest
        if latest is not None and time.monotonic() - latest[1] < self._fresh:
            return latest[0]
        enough = None  # the number of the first read that begins from here on
        while True:
            with self._lock:
                latest, read = self._latest, self._under_way
                if latest is not None and time.monotonic() - latest[1] < self._fresh:
                    return latest[0]
                enough = enough or self._ended.number + (2 if read else 1)
                if self._ended.number >= enough:
                    break
                if read is None:
                    mine = self._under_way = _Read[T](self._ended.number + 1)
                    news = self._news
            if read is None:
                return self._lead(mine, news, latest)
            read.ended.wait(deadline.left(threading.TIMEOUT_MAX))
        ended = self._ended
        if ended.value is None:
            raise OtherFailed
        return ended.value

    def expire(self) -> None:
        """Have the next who asks read: there is news."""
        with self._lock:
            self._news += 1
            if self._latest is not None:
                self._latest = self._latest[0], -math.inf

    def _lead(self, read: _Read[T], news: int, latest: tuple[T, float] | None) -> T:
        began = time.monotonic()
        try:
            read.value = self._read(latest[0] if latest else None)
            return read.value
        finally:
            with self._lock:
                self._under_way, self._ended = None, read
                if read.value is not None:
                    # Where there was news meanwhile, that may not be in it.
                    self._latest = read.value, began if news == self._news else -math.inf
            read.ended.set()
