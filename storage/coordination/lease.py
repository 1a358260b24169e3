"""Locks that expire, and can be taken while Redis is full, since the processes that make room need them."""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum

from storage.backends import deadline
from storage.base.ids import new_ulid
from storage.coordination.heartbeat import Heartbeat
from storage.view.view import View

# Seconds of a wait for a lock. Some versions of Redis take less than 1 ms for "for ever" (redis/redis#11687). After a
# failover the same wait begins again, for a lock that is free there.
_LEAST_WAIT, _LONGEST_WAIT = 0.002, 1.0
# The same in this process and in those that it forks.
_FAMILY = secrets.token_hex(6)


def new_owner() -> str:
    """Return a name for an owner of locks: this process's, and behind a slash what nobody else has."""
    return f"{_FAMILY}-{os.getpid()}/{new_ulid()}"


def end_orphans(view: View, owners: Iterable[str]) -> list[str]:
    """End the leases of those of `owners` whose process this one or its parent forked, and which has ended.

    So nobody waits for them to expire, and who waits for a lock of theirs is told. Returns them. Raises
    redis.RedisError.
    """
    orphans = [owner for owner in owners if _is_orphan(owner)]
    if orphans:
        for owner in orphans:
            for name in (LeaseName.APPEND, LeaseName.LINK):
                view.scripts("give", name, owner)
        view.redis.delete(*(f"{view.prefix}lease:{owner}" for owner in orphans))
    return orphans


def _is_orphan(owner: str) -> bool:
    family, _, pid = owner.partition("/")[0].rpartition("-")
    if family != _FAMILY:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # another user's process has its number by now: the lease expires by itself
    return False


class LeaseName(StrEnum):
    """The names of all leases, as their keys have them."""

    APPEND = "ticket"  # who appends the next entry of the log (storage/queue/append_lock.py)
    LINK = "linking"  # who links the next batch
    RECOVERING = "recovering"  # who queues what Redis has lost
    COMPACTING = "compacting"  # who compacts, or makes room in Redis
    UPKEEP_ASKED = "upkeep_asked"  # upkeep was asked for a moment ago
    UPKEEP_WAITS = "upkeep_waits"  # one run of upkeep waits for who loads the view
    IMPORTING = "importing"  # who imports a history, whose packs no entry names yet
    GARBAGE = "gc"  # garbage was collected within the last interval
    FULL_SCAN = "deep_look"  # the inbox was scanned from the low watermark on within the last interval
    DELIVERING = "delivering:"  # with a webhook's id: who delivers to it
    MIRRORING = "mirroring:"  # with a mirror's name: who pushes to it
    CURSORS = "webhooks_noted"  # how far webhooks have come was noted in the log within the last interval


def holders(view: View) -> list[str]:
    """Return who has a lock by name now. Raises redis.RedisError."""
    values = view.redis.mget([view.prefix + name for name in LeaseName])
    return [value.split(b" ")[0].decode() for value in values if value]


class Lease:
    """One lock by its name. It is advisory: it saves work, and outcomes are right without it."""

    def __init__(
        self, view: View, name: LeaseName, seconds: float, heartbeat: Heartbeat | None = None, of: str = ""
    ) -> None:
        """It ends after `seconds`; where it is held with a `heartbeat`, also soon after its owner's process.

        `of` is what it is for, where there are many of its name.
        """
        self._view = view
        self._name = name + of
        self._life = int(seconds * 1000)
        self._heartbeat = heartbeat

    def take(self, owner: str) -> bool:
        """Try to take it, or to keep it for longer; tell whether it is the owner's now."""
        return not self._ask(owner)

    def take_or_wait(self, owner: str, at_most: float) -> bool:
        """Try to take it; tell whether it is the owner's now. If not, wait for so many seconds, but for one at most.

        It has been given back then, and among those who wait this is the one who began first; or its holder may have
        died, which tells nobody. Somebody else may have it by now. Raises redis.RedisError and Spent.
        """
        rest = self._ask(owner, "waits")
        if rest:
            wait = max(_LEAST_WAIT, deadline.left(min(rest / 1000, at_most, _LONGEST_WAIT)))
            with deadline.no_calls():
                self._view.redis.blpop([f"{self._view.prefix}freed:{self._name}"], wait)
        return not rest

    def _ask(self, owner: str, *waits: str) -> int:
        ttl = self._heartbeat.ttl if self._heartbeat else 0
        return int(self._view.scripts("take", self._name, owner, self._life, ttl, *waits))

    def take_turn(self) -> bool:
        """Take it, for all of its time, if it is free, and tell: so one of many processes acts once in that time."""
        return self.take(new_ulid())

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold it in this block if it is free; yields whether it was."""
        owner = new_owner() if self._heartbeat else new_ulid()
        taken = self.take(owner)
        try:
            with self._heartbeat.of(owner) if taken and self._heartbeat else nullcontext():
                yield taken
        finally:
            if taken:
                self.release(owner)

    def release(self, owner: str) -> None:
        """Give it back if it still is the owner's. Raises redis.RedisError."""
        self._view.scripts("give", self._name, owner)
