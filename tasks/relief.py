"""Making room in Redis while it has little memory left. No message starts it, since a full broker refuses messages.

A thread of each worker node starts this module (tasks/node/watch.py), which runs until there is room, in one process of
the deployment at a time. It drops copies and abandoned epochs of the view, merges committed changesets, and compacts
(storage/maintenance/compaction.py) without waiting for `history_age`. If a full Redis was restarted or failed over, no
message can start upkeep, so the inbox is recovered here too.
"""

import os
import sys
import threading
import time
from collections.abc import Callable

import structlog
from redis.exceptions import RedisError

from storage.backends.deadline import budget
from storage.backends.redis_client import UNAVAILABLE
from storage.backends.redis_memory import pressure
from storage.base import log_streams, logging_setup, settings
from storage.commit import merge_batch
from storage.coordination import Lease, LeaseName
from storage.maintenance import FEW_ENTRIES, checkpoint
from storage.repository import Repository
from tasks import compaction
from tasks.node import program
from tasks.upkeep import drop_forgotten, keep_up

log = structlog.get_logger()

_LOOK_EVERY = 1.0  # seconds between two looks whether the node that started this is there
# Seconds after a round that made room. After each one that made none the pause is twice as long, up to the longest: the
# next entries have to grow old enough, or Redis is too small for what cannot leave it.
_PAUSE, _LONGEST_PAUSE = 2.0, 15.0
# The part of maxmemory by which its use must fall to count as room: buffers of connections come and go.
_LEAST_ROOM = 0.001
# Nobody begins another merge after so many seconds: history is to leave.
_MERGING = 10.0
_MAX_SEGMENTS = 64
# Few new copies are made while Redis has little memory, and all keys are looked through for them.
_COPIES_EVERY = 30.0


def relieve(repo: Repository, copies: bool = True) -> bool:
    """Make room once, by dropping `copies` as well; tell whether any step did anything. One that fails stops none."""
    if copies:
        _tried(_drop_copies, repo)
    done = [_tried(step, repo) for step in (drop_forgotten, _recover, _merge, _checkpoint, _compact)]
    return any(done)


def _drop_copies(repo: Repository) -> bool:
    dropped = repo.objects.drop_copies() + repo.queue.drop_manifests()
    if dropped:
        log.info("copies_dropped", copies=dropped)
    return dropped > 0


def _recover(repo: Repository) -> bool:
    """Recover view and queues after a restart or a failover: otherwise all requests get 503 until there is room."""
    if repo.queue.recovered_state():
        return False
    keep_up(repo)
    return True


def _merge(repo: Repository) -> bool:
    """Merge what is committed: only what has landed can leave Redis."""
    merged, until = 0, time.monotonic() + _MERGING
    while time.monotonic() < until:
        with budget("batch_budget", repo.settings.batch_budget):
            count = merge_batch(repo).changesets
        if not count:
            break
        merged += count
    return merged > 0


def _checkpoint(repo: Repository) -> bool:
    """Make segments of the history that will leave: loading the view must not need compacted packs."""
    return checkpoint(repo, _MAX_SEGMENTS, min(FEW_ENTRIES, repo.settings.checkpoint_entries)) > 0


def _compact(repo: Repository) -> bool:
    return bool(compaction.run(repo))


def _tried(step: Callable[[Repository], bool], repo: Repository) -> bool:
    try:
        return step(repo)
    except UNAVAILABLE as reason:
        log.warning("relief_waits", step=step.__name__.strip("_"), reason=type(reason).__name__, detail=str(reason))
    except Exception:
        log.exception("step_failed", step=step.__name__.strip("_"))
    return False


def run(repo: Repository) -> None:
    """Make room until there is enough; wait while another process does, or Redis refuses or does not answer."""
    lease = Lease(repo.view, LeaseName.COMPACTING, compaction.ALONE, repo.heartbeat)
    _say(repo, "redis_memory_tight")
    dropped, pause = time.monotonic() - _COPIES_EVERY, _PAUSE
    while repo.memory.is_tight():
        now = time.monotonic()
        copies = now - dropped >= _COPIES_EVERY
        try:
            freed = _round(repo, lease, copies)
        except RedisError as reason:  # it may be a replica, or be unable to write to its disk
            freed = None
            log.warning("relief_waits", step="round", reason=type(reason).__name__, detail=str(reason))
        if copies and freed is not None:
            dropped = now
        pause = _PAUSE if freed else min(2 * pause, _LONGEST_PAUSE)
        time.sleep(pause)
    _say(repo, "redis_has_room")


def _round(repo: Repository, lease: Lease, copies: bool) -> bool | None:
    """Make room once, unless another process does (None); tell whether memory use decreased. Raises RedisError."""
    with lease.held() as alone:
        if not alone:
            return None
        before = pressure(repo.redis)
        relieve(repo, copies)
        after = pressure(repo.redis)
    # Not what was done: a merge, for one, makes no room by itself.
    return before.used - after.used > _LEAST_ROOM * before.limit


def _say(repo: Repository, event: str) -> None:
    pressure = repo.memory.now()
    log.warning(event, used=pressure.used, limit=pressure.limit)


def _end_with(parent: int) -> None:
    """End this process when the node is gone: another node makes room."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY)
        os._exit(0)  # what is done here may end at any point

    threading.Thread(target=look, daemon=True).start()


def main(argv: list[str]) -> None:
    """Make room for the node whose process id is given. Raises SettingsError."""
    logging_setup.configure("relief")  # until the settings are read, which may be wrong
    log_streams.take_over()
    chosen = settings.load()
    program.name("relief", chosen)
    if argv:
        _end_with(int(argv[0]))
    run(Repository(chosen))


if __name__ == "__main__":
    main(sys.argv[1:])
