"""Making room in Redis while it has little memory left; started without the broker, whose messages it refuses then too.

A thread of each worker node starts this module (tasks/watch.py), which goes on until there is room: one at a time in a
deployment. It drops copies, merges what is committed, and compacts (storage/compact.py), which then does not wait for
`history_age`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

import structlog

from storage import logs, settings
from storage.budget import budget
from storage.checkpoints import checkpoint
from storage.compact import FEW_ENTRIES
from storage.ids import new_ulid
from storage.lease import Lease
from storage.redis_memory import drop_copies
from storage.repository import Repository
from tasks import compaction
from tasks.base import PASSING
from tasks.merges import merge_batch

log = structlog.get_logger()

_LOOK_EVERY = 1.0  # seconds between two looks whether the node that started this is there
# Seconds after a round that made nothing: the next entries have to grow old enough, or Redis is too small.
_PAUSE = 2.0
# Nobody begins another merge after so many seconds: history is to leave.
_MERGING = 10.0
_MOST_SEGMENTS = 64
# Few new copies are made while Redis has little memory, and all keys are looked through for them.
_COPIES_EVERY = 30.0


def relieve(repo: Repository, copies: bool = True) -> bool:
    """Make room once, by dropping `copies` as well; tell whether anything else was done.

    Each step is tried, whatever became of those before it.
    """
    if copies:
        _tried(_drop_copies, repo)
    done = [_tried(step, repo) for step in (_merge, _checkpoint, _compact)]
    return any(done)


def _drop_copies(repo: Repository) -> bool:
    dropped = drop_copies(repo.redis, repo.view.prefix)
    if dropped:
        log.info("copies_dropped", copies=dropped)
    return dropped > 0


def _merge(repo: Repository) -> bool:
    """Merge what is committed: only what has landed can leave Redis."""
    merged, until = 0, time.monotonic() + _MERGING
    while time.monotonic() < until:
        with budget("batch_budget", repo.settings.batch_budget):
            count = merge_batch(repo)
        if not count:
            break
        merged += count
    return merged > 0


def _checkpoint(repo: Repository) -> bool:
    """Make segments of what is to leave: a view that is loaded anew must not need what was compacted."""
    return checkpoint(repo, _MOST_SEGMENTS, min(FEW_ENTRIES, repo.settings.checkpoint_entries)) > 0


def _compact(repo: Repository) -> bool:
    return bool(compaction.run(repo))


def _tried(step: Callable[[Repository], bool], repo: Repository) -> bool:
    try:
        return step(repo)
    except PASSING as reason:
        log.warning("relief_waits", step=step.__name__.strip("_"), reason=type(reason).__name__, detail=str(reason))
    except Exception:
        log.exception("step_failed", step=step.__name__.strip("_"))
    return False


def run(repo: Repository) -> None:
    """Make room until there is enough; wait where somebody else is at it. Raises redis.RedisError."""
    owner, lease = new_ulid(), Lease(repo.view, compaction.LEASE, compaction.ALONE)
    _say(repo, "redis_memory_tight")
    dropped = time.monotonic() - _COPIES_EVERY
    while repo.memory.is_tight():
        done, now = False, time.monotonic()
        if lease.take(owner):
            copies = now - dropped >= _COPIES_EVERY
            dropped = now if copies else dropped
            try:
                done = relieve(repo, copies)
            finally:
                lease.give_back(owner)
        if not done:
            time.sleep(_PAUSE)
    _say(repo, "redis_has_room")


def _say(repo: Repository, event: str) -> None:
    told = repo.memory.now()
    log.warning(event, used=told.used, limit=told.limit)


def _end_with(parent: int) -> None:
    """End this process when the node is gone: another node makes room."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY)
        os._exit(0)  # what is done here may end at any point

    threading.Thread(target=look, daemon=True).start()


if __name__ == "__main__":
    logs.configure("relief")
    if len(sys.argv) > 1:
        _end_with(int(sys.argv[1]))
    chosen = settings.load()
    logs.configure("relief", chosen.log_level, chosen.secrets)
    run(Repository(chosen))
