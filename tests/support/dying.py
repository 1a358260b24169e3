"""A process that dies at its n-th call of the bucket or of Redis, before the call or right after it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from storage.backends.bucket import Bucket
from storage.backends.scripts import Scripts

# They call when they please: a slow batch's pulse, what the API of an earlier test has left to do, and what counts.
NO_STEP = ("pulse", "requeue", "announce", "counts", "rates")


class Died(BaseException):
    """The process is gone: no handler may catch this, and no clean-up of ours reaches the servers any more."""


class Dying:
    """Counts calls; at `at` the process dies, and every later call of it fails too. 0: immortal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 0
        self._on = ""
        self.after = False  # die when the call has been made, and its answer is lost
        self.calls = 0
        self.trail: list[str] = []
        for kind, names in ((Bucket, ("create", "get", "get_range")), (Scripts, ("__call__",))):
            for name in names:
                monkeypatch.setattr(kind, name, self._wrapped(getattr(kind, name), name))

    def arm(self, at: int, after: bool = False) -> None:
        """Die at the `at`-th call from now on."""
        self.at, self.after, self.calls, self.trail = at, after, 0, []

    def arm_on(self, name: str) -> None:
        """Die right after the first call whose object's name begins with `name`."""
        self.arm(0)
        self._on = name

    def _wrapped(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def wrapped(*args: Any, **more: Any) -> Any:
            if threading.current_thread().name in NO_STEP:
                return call(*args, **more)
            self.calls += 1
            what = str(args[1]) if len(args) > 1 else name
            self.trail.append(what)
            if self.at and (self.calls > self.at or (self.calls == self.at and not self.after)):
                raise Died
            result = call(*args, **more)
            if self._on and what.startswith(self._on):
                self._on, self.at = "", self.calls
            if self.at and self.calls == self.at:
                raise Died
            return result

        return wrapped
