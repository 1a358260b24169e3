"""A token bucket. Pure: the time is given."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """How a principal stands with its rate."""

    quota: int  # requests that it may send at once after a pause
    window: int  # seconds after which an empty bucket is full
    remaining: int  # requests that it may send now
    reset: int  # seconds until the next one is let through, or, where some are left, until the bucket is full
    allowed: bool = True

    @property
    def headers(self) -> dict[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers that say so."""
        return {
            "RateLimit-Policy": f'"requests";q={self.quota};w={self.window}',
            "RateLimit": f'"requests";r={self.remaining};t={self.reset}',
        }


class Bucket:
    """Fills with `rate` tokens a second up to those of `burst` seconds, and one at least. What is owed is negative."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._level = self.capacity
        self._at = now

    @property
    def capacity(self) -> float:
        """Tokens in a full bucket."""
        return max(1.0, self._rate * self._burst)

    def change(self, rate: float, now: float) -> None:
        """Fill at another rate from now on."""
        if rate != self._rate:
            self._fill(now)
            self._rate = rate
            self._level = min(self._level, self.capacity)

    def take(self, now: float) -> Standing:
        """Take a token if there is one."""
        self._fill(now)
        allowed = self._level >= 1
        if allowed:
            self._level -= 1
        return self._standing(allowed)

    def charge(self, tokens: int, now: float) -> None:
        """Take tokens that were spent elsewhere, whether they are there or not."""
        self._fill(now)
        self._level -= tokens

    def show(self, now: float) -> Standing:
        """Tell how it stands, and take nothing."""
        self._fill(now)
        return self._standing(True)

    def is_full(self, now: float) -> bool:
        """Tell whether nothing is missing."""
        self._fill(now)
        return self._level >= self.capacity

    def _fill(self, now: float) -> None:
        self._level = min(self.capacity, self._level + max(0.0, now - self._at) * self._rate)
        self._at = now

    def _standing(self, allowed: bool) -> Standing:
        wanted = self.capacity if self._level >= 1 else 1.0
        reset = math.ceil((wanted - self._level) / self._rate)
        window = math.ceil(self.capacity / self._rate)
        return Standing(int(self.capacity), window, max(0, int(self._level)), reset, allowed)
