"""Successors of a changeset: one request at a time makes one, and at most one is undecided.

Requests for successors of one changeset take turns, in all processes, and each checks whether an undecided one is
queued. This is advisory: Redis may lose keys, and a stored pack may not be queued yet. The linker rejects a second
successor (storage/commit/link.py), since it knows from the log what has replaced the changeset.
"""

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
    """Other requests for successors took as long as this request may wait."""


@contextmanager
def turn(repo: Repository, changeset: ChangesetId) -> Iterator[None]:
    """Keep others from making a successor of `changeset` in this block. Raises TakesTooLong and RedisError."""
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
    """Return the undecided successor of a changeset, else None. Raises Recovering while the inbox may have one."""
    recovered, successor = repo.queue.successor(changeset)
    if successor is None and not recovered:
        raise Recovering("changesets are being looked for")
    return successor
