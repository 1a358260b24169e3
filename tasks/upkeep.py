"""Upkeep: finding and resuming work that was lost, or left unfinished by a process that died."""

from collections.abc import Callable

import structlog
from redis.exceptions import OutOfMemoryError

from storage.backends.bucket import Missing
from storage.backends.redis_client import UNAVAILABLE
from storage.base.errors import Corrupt, LogForked, LogUnreadable
from storage.coordination import Lease, LeaseName, new_owner
from storage.log.entry import digest
from storage.maintenance import checkpoint, collect, roll_up
from storage.operations.lifecycle import close_oldest, release_decided, requeue_released
from storage.queue import InboxScan
from storage.repository import Repository
from storage.view.load import catch_up, load
from storage.view.view import is_current
from tasks.base import SluiceTask, repository, run_job
from tasks.celery import app
from tasks.notify import ask_for_work
from tasks.report import did

log = structlog.get_logger()

# Time between deep looks at the inbox, for packs that arrived very late.
_DEEP_LOOK = 120.0
# Seconds that upkeep waits for who loads the view: longer than it takes to find that one dead (storage/view/view.py).
_LOADING_PATIENCE = 15.0
# Seconds within which nobody else begins to recover the inbox, as long as who does so lives.
_RECOVERING = 60.0
# Each names its paths in one entry.
_EXPIRED_AT_ONCE = 100
# An epoch of the view whose loading has not gone on for so long (seconds) was left by a process that died.
_FORGOTTEN = 300.0


@app.task(name="sluice.upkeep", base=SluiceTask, ignore_result=True, acks_late=True)
def upkeep(reason: str = "") -> None:
    """Repair the view and the queues, send messages for waiting work, and tidy up. `reason` is for people."""
    repo = repository()
    # Both read much more than what a worker's child does otherwise. Apart from each other, since work that was found
    # need not wait until all is tidy.
    try:
        done = run_job(keep_up, repo.settings)
    finally:
        ask_for_work(repo)
    if done:
        run_job(tidy, repo.settings)


def run(repo: Repository) -> InboxScan:
    """Do all of it, here. Raises Unavailable."""
    scan = keep_up(repo)
    tidy(repo)
    return scan


def keep_up(repo: Repository) -> InboxScan:
    """Bring the view up to date (load it if it is missing or wrong), and queue what the queues have lost.

    Harmless at any time and any number of times at once. Raises Unavailable.
    """
    # Read the run id first. If Redis restarts from an older snapshot meanwhile, the id differs and it must not be
    # marked as recovered.
    run = repo.queue.run()
    try:
        epoch = _keep_view(repo)
    except (Corrupt, LogUnreadable) as error:
        log.error("log_unreadable", detail=str(error))
        raise
    return _keep_queues(repo, run, epoch)


def tidy(repo: Repository) -> None:
    """Make checkpoints, delete garbage, the rest of old epochs and expired claims, and close conflicts above the limit.

    Harmless as `keep_up` is, and killed at any point. Raises ViewAbsent, ViewStale and BucketError, and what a step
    raises when all others were taken.
    """
    wrong: list[Exception] = []
    step: Callable[[Repository], object]
    # Dropping frees the most memory and needs nothing else, so it comes first.
    for step in (drop_forgotten, _end_claims, _checkpoint, _close_oldest, _collect):
        try:
            step(repo)
        except OutOfMemoryError as error:
            # Another step may be one that is allowed while Redis is full.
            log.warning("step_waits", step=step.__name__.strip("_"), detail=str(error))
            wrong.append(error)
        except Exception as error:
            if isinstance(error, UNAVAILABLE) and not isinstance(error, Missing):
                raise  # as would all the others
            log.exception("step_failed", step=step.__name__.strip("_"))
            did(f"failed: {step.__name__.strip('_')}")
            wrong.append(error)
    if wrong:
        raise wrong[0]


def _keep_view(repo: Repository) -> str | None:
    """Bring the view up to the log, and return its epoch."""
    if repo.view.epoch() is None:
        log.warning("view_absent")
        repo.prepare(_LOADING_PATIENCE if _may_wait(repo) else 0.0)
        log.info("view_loaded", applied=repo.view.head().applied)
        did("view loaded")
    epoch = repo.view.epoch()
    try:
        if not is_current(epoch or ""):
            raise LogForked("the view is of another version's format")
        if not _follows_log(repo):
            raise LogForked("the view's last entry is not the log's")
        _catch_up(repo)
    except LogForked as error:
        log.error("view_forked", detail=str(error))
        did("view loaded anew")
        load(repo.view, repo.log, repo.bucket, epoch)
        epoch = repo.view.epoch()
        # What was appended while it was loaded was applied to the view before it, and reported.
        _catch_up(repo)
    return epoch


def _may_wait(repo: Repository) -> bool:
    """Tell whether to wait for the loader of the view: only one upkeep does, or messages would pile up."""
    return Lease(repo.view, LeaseName.UPKEEP_WAITS, _LOADING_PATIENCE).take_turn()


def _catch_up(repo: Repository) -> None:
    """Apply entries that their writers did not apply: a writer holds the append lock until the view has its entry."""
    if repo.log.read(repo.view.head().applied + 1) is None:
        return
    with repo.append_lock.held(new_owner()):
        applied = catch_up(repo.view, repo.log, repo.bucket)
    if applied:
        log.warning("view_caught_up", entries=applied)
        did(f"view caught up by {applied} entries")


def _keep_queues(repo: Repository, run: bytes, epoch: str | None) -> InboxScan:
    if repo.queue.recovered_state():
        scan = repo.inbox.routine(deep=_due(repo))
    else:
        scan = _recover(repo, run, epoch)
    scan.enqueued += requeue_released(repo, repo.settings.max_page)
    release_decided(repo, repo.settings.max_page)
    repo.queue.forget_stale()
    if scan.enqueued:
        log.warning("changesets_requeued", packs=scan.packs, enqueued=scan.enqueued)
        did(f"found and queued {scan.enqueued} changesets")
    return scan


def _recover(repo: Repository, run: bytes, epoch: str | None) -> InboxScan:
    """Recover the inbox, unless another process has just begun to: every requested upkeep would list the same."""
    with Lease(repo.view, LeaseName.RECOVERING, _RECOVERING, repo.heartbeat).held() as alone:
        if not alone:
            return InboxScan()
        scan = repo.inbox.recover(run, epoch)
    log.warning("inbox_recovered", packs=scan.packs, enqueued=scan.enqueued)
    did(f"inbox recovered: {scan.packs} packs")
    return scan


def _checkpoint(repo: Repository) -> None:
    segments = checkpoint(repo, repo.settings.checkpoint_segments)
    rolled = roll_up(repo, repo.settings.checkpoint_segments)
    if segments or rolled:
        log.info("checkpointed", segments=segments, rolls=rolled)
        did(f"checkpointed {segments} segments, {rolled} rolls")


def _close_oldest(repo: Repository) -> None:
    expired = close_oldest(repo, _EXPIRED_AT_ONCE)
    if expired:
        log.warning("conflicts_expired", changesets=expired, limit=repo.settings.max_open_conflicts)
        did(f"closed {expired} conflicts")


def _collect(repo: Repository) -> None:
    if Lease(repo.view, LeaseName.GARBAGE, repo.settings.gc_interval).take_turn():
        collected = collect(repo)
        if collected.deleted:
            log.info("garbage_collected", packs=len(collected.deleted), listed=collected.listed)
            did(f"deleted {len(collected.deleted)} packs")


def _end_claims(repo: Repository) -> None:
    repo.advisory_claims.end_expired()


def drop_forgotten(repo: Repository) -> bool:
    """Delete the rest of one abandoned epoch of the view; tell whether there was one."""
    forgotten = repo.view.forgotten(_FORGOTTEN)
    if forgotten is None:
        return False
    # One a run: each may be as large as the view.
    repo.view.drop(forgotten)
    log.warning("epoch_dropped", epoch=forgotten)
    did("dropped a forgotten epoch")
    return True


def _follows_log(repo: Repository) -> bool:
    head = repo.view.head()
    data = repo.log.read(head.applied)
    return data is not None and digest(data) == head.hash


def _due(repo: Repository) -> bool:
    """Tell whether it is time for a deep look; one of many processes gets True."""
    return Lease(repo.view, LeaseName.FULL_SCAN, _DEEP_LOOK).take_turn()
