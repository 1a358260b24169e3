"""Who takes a changeset's place: one at a time, and one undecided successor at most.

Requests for successors of one changeset take turns, in all processes, and each asks whether an undecided one is queued
by then. It saves work and decides nothing: Redis may forget, and a pack may be stored that nobody could queue yet. What
is decided in vain is rejected by the linker (storage/commit/link.py), which knows from the log whose place it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis.exceptions import LockNotOwnedError, RedisError

from storage.backends import deadline
from storage.base.errors import Recovering, Unavailable
from storage.base.ids import ChangesetId
from storage.repository import Repository

# Between two looks whether it is one's turn (seconds).
_PAUSE = 0.02


class TakesTooLong(Unavailable):
    """Others are at it for as long as a request may take."""


@contextmanager
def turn(repo: Repository, changeset: ChangesetId) -> Iterator[None]:
    """Let nobody else make a successor of `changeset` in this block, as far as Redis remembers.

    Raises TakesTooLong and redis.RedisError.
    """
    most = repo.settings.request_budget
    # Whoever dies in the block leaves it after the time in which a request must be over.
    lock = repo.queue.successor_lock(changeset, 2 * most, _PAUSE)
    if not lock.acquire(blocking_timeout=deadline.left(most)):
        raise TakesTooLong(f"another successor of {changeset} is being made")
    try:
        yield
    finally:
        # Whatever the request has spent.
        with deadline.budget("redis_timeout", repo.settings.redis_timeout), suppress(LockNotOwnedError, RedisError):
            lock.release()


def successor_of(repo: Repository, changeset: ChangesetId) -> ChangesetId | None:
    """Return the undecided changeset that is to take the place of another, None where there is none.

    Raises ViewAbsent, and Recovering where one may be in the inbox alone.
    """
    recovered, successor = repo.queue.successor(changeset)
    if successor is None and not recovered:
        raise Recovering("changesets are being looked for")
    return successor
