"""Compaction: what is old leaves Redis, small packs become larger. Beside upkeep, which must not wait for it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict

import structlog
from redis.exceptions import LockError

from storage.compact import Compacted, compact
from storage.repository import Repository
from storage.view import is_current
from tasks.base import SluiceTask, repository, run_apart
from tasks.celery import app
from tasks.report import did

log = structlog.get_logger()

# Whoever compacts is at it for so many seconds at most, or may be joined by another: both would make the same.
_ALONE = 120
# Nobody begins another compaction after so many seconds, so that the last one ends within those.
_GOES_ON = 60.0


@app.task(name="sluice.compact", base=SluiceTask, ignore_result=True, acks_late=True)
def compaction(reason: str = "") -> None:
    """Make the compactions that are due; whoever else is asked meanwhile does nothing. `reason` is for who reads it."""
    repo = repository()
    alone = repo.redis.lock(repo.view.prefix + "compacting", timeout=_ALONE)
    if not alone.acquire(blocking=False):
        return
    try:
        # It has all in memory that it archives, which a worker's child never has otherwise.
        run_apart(run, repo.settings)
    finally:
        with suppress(LockError):  # it took longer, and somebody else is at it by now
            alone.release()


def run(repo: Repository) -> list[Compacted]:
    """Make compactions until none is due, for a minute or so: who waited for the next tick might never catch up.

    Raises ViewAbsent, ViewStale, LogBusy, CorruptEntry, CorruptObject and BucketError.
    """
    made: list[Compacted] = []
    until = time.monotonic() + _GOES_ON
    if not is_current(repo.view.epoch() or ""):
        return made  # a view of an older version does not know all that entries name
    while time.monotonic() < until:
        done = compact(repo)
        if done is None:
            break
        made.append(done)
        log.info("compacted", **asdict(done))
        did(f"archived {done.entries} entries, deleted {done.deleted} packs")
        if not done.more:
            break
    return made
