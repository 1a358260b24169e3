"""The task for compactions, which is separate from upkeep so that upkeep does not wait for it."""

import time
from dataclasses import asdict

import structlog
from redis.exceptions import RedisError

from storage.coordination import Lease, LeaseName
from storage.maintenance import Compacted, compact
from storage.repository import Repository
from storage.view.view import is_current
from tasks.base import SluiceTask, repository, run_job
from tasks.celery import app
from tasks.report import did

log = structlog.get_logger()

# Whoever compacts is at it for so many seconds at most, or may be joined by another: both would make the same.
ALONE = 120.0
# Nobody begins another compaction after so many seconds, so that the last one ends within those.
_GOES_ON = 60.0


@app.task(name="sluice.compact", base=SluiceTask, ignore_result=True, acks_late=True)
def compaction(reason: str = "") -> None:
    """Make the compactions that are due; another run meanwhile does nothing. `reason` is for people."""
    repo = repository()
    try:
        with Lease(repo.view, LeaseName.COMPACTING, ALONE, repo.heartbeat).held() as alone:
            if alone:
                # It has all in memory that it archives, which a worker's child never has otherwise.
                run_job(run, repo.settings)
    except RedisError as reason:
        log.warning("compaction_waits", reason=type(reason).__name__, detail=str(reason))


def run(repo: Repository) -> list[Compacted]:
    """Make compactions for a minute at most: one a tick might never catch up. Raises Unavailable and Corrupt."""
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
