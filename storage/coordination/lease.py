"""Locks that expire, and can be taken while Redis is full, since the processes that make room need them."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from storage.base.ids import new_ulid
from storage.view.view import View


class LeaseName(StrEnum):
    """The names of all leases, as their keys have them."""

    APPEND = "ticket"  # who prepares the next entry of the log (storage/queue/append_lock.py)
    RECOVERING = "recovering"  # who queues what Redis has lost
    COMPACTING = "compacting"  # who compacts, or makes room in Redis
    UPKEEP_ASKED = "upkeep_asked"  # upkeep was asked for a moment ago
    UPKEEP_WAITS = "upkeep_waits"  # one run of upkeep waits for who loads the view
    GARBAGE = "gc"  # garbage was collected within the last interval
    FULL_SCAN = "deep_look"  # the inbox was scanned from the low watermark on within the last interval


class Lease:
    """One lock by its name. It is advisory: it saves work, and outcomes are right without it."""

    def __init__(self, view: View, name: LeaseName, seconds: float) -> None:
        self._view = view
        self._name = name
        self._life = int(seconds * 1000)

    def take(self, owner: str) -> bool:
        """Try to take it, or to keep it for longer; tell whether it is the owner's now."""
        return bool(self._view.scripts("take", self._name, owner, self._life))

    def take_turn(self) -> bool:
        """Take it, without an owner, if it is free, and tell: so one of many processes acts once in its time."""
        return self.take(new_ulid())

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold it in this block if it is free; yields whether it was."""
        owner = new_ulid()
        taken = self.take(owner)
        try:
            yield taken
        finally:
            if taken:
                self.release(owner)

    def release(self, owner: str) -> None:
        """Give it back if it still is the owner's; a lost race here only lets two work at once."""
        key = self._view.prefix + self._name
        if (self._view.redis.get(key) or b"").split(b" ")[0] == owner.encode():
            self._view.redis.delete(key)
