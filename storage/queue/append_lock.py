"""The locks of those who append to the log, so that few lose the race for the next entry number.

Batches link one after another, since each commit is made on the one before it: that is the link lock. The append lock
is for the append alone, so that a batch is linked, and its pack is stored, while somebody else's entry is on its way.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis.exceptions import RedisError

from storage.backends.deadline import budget
from storage.base.settings import Settings
from storage.coordination import Heartbeat, Lease, LeaseName
from storage.view.view import View

# How long to wait for it, in lives of a lease: a holder that lives may well keep it for longer than one.
_PATIENCE = 4


class AppendLock:
    """Admits one at a time. It is advisory: it avoids races for the same entry number. Safe for threads."""

    def __init__(
        self, settings: Settings, view: View, heartbeat: Heartbeat, name: LeaseName = LeaseName.APPEND
    ) -> None:
        # Past its budget a batch is stuck elsewhere, and others may go on though its process lives.
        longest = settings.batch_budget + settings.lock_ttl
        self._lease = Lease(view, name, longest, heartbeat)
        self._heartbeat = heartbeat
        self._settings = settings
        # One of a process asks, or many of an API process would keep Redis and themselves busy with nothing else.
        self._asking = threading.Lock()

    @contextmanager
    def held(self, owner: str) -> Iterator[None]:
        """Hold the lock in this block; or go on without it where others have it for long.

        It is released whatever the block has spent of its budget: others would wait for it. Where Redis is away, it
        expires.
        """
        try:
            self.take(owner, timeout=_PATIENCE * self._settings.lock_ttl)
            with self._heartbeat.of(owner):
                yield
        finally:
            with budget("redis_timeout", self._settings.redis_timeout), suppress(RedisError):
                self.release(owner)

    def take(self, owner: str, timeout: float) -> bool:
        """Wait for the lock at most `timeout` seconds; tell whether it was got. Going on without it is safe."""
        if not self._settings.use_locks:
            return False
        began = time.monotonic()
        if not self._asking.acquire(timeout=timeout):
            return False
        try:
            # Who waits longest is told first. They would all have the same chance otherwise, and who adds one entry
            # would wait as long as batches are made one after another.
            while (rest := began + timeout - time.monotonic()) > 0:
                # A call of Redis may take no longer than its time-out.
                if self._lease.take_or_wait(owner, min(rest, self._settings.redis_timeout / 2)):
                    return True
            return self._lease.take(owner)
        finally:
            self._asking.release()

    def release(self, owner: str) -> None:
        """Release the lock if it still is the owner's."""
        self._lease.release(owner)
