"""The task that commits: one batch (storage/commit/batch.py) and what came of it, then messages for what is left."""

import time
from contextlib import ExitStack, suppress

import structlog
from celery.signals import worker_process_init
from redis.exceptions import RedisError

from storage.backends.deadline import budget
from storage.backends.redis_client import UNAVAILABLE
from storage.base.errors import NeedsUpkeep, Paused
from storage.commit import commit_batch, poison
from storage.coordination import end_orphans, holders
from storage.repository import Repository
from tasks import tracing
from tasks.base import SluiceTask, repository
from tasks.celery import app
from tasks.merges import merge_now
from tasks.notify import NO_RUN, EndedRun, ask_for_commit_safely, ask_for_upkeep, ask_for_work
from tasks.report import because, did

log = structlog.get_logger()


@app.task(name="sluice.commit", base=SluiceTask, ignore_result=True, acks_late=True)
def commit(token: str = "", reason: str = "") -> None:
    """Commit one bounded batch; if work is left, send the next message. `reason` is for people."""
    repo, began, run = repository(), time.monotonic(), EndedRun(before=int(time.time() * 1000))
    try:
        with repo.heartbeat.of_message("commit", token):
            moved, applied = _commit(repo, token)
        if moved:
            pause = min(repo.settings.commit_pause, time.monotonic() - began)
            run = EndedRun(applied=None if repo.pace.is_far else applied, pause=pause)
    except Exception:
        run = NO_RUN  # where it was a batch that failed, somebody is suspected now: the others need not wait
        raise
    finally:
        ask_for_work(repo, token, run)


def _commit(repo: Repository, token: str) -> tuple[bool, float | None]:
    """Commit a batch and report what came of it; tell whether more may be done at once, and when it was in the view."""

    def let_others_begin() -> None:
        with suppress(RedisError):  # then they wait
            repo.queue.let_others_begin(token)
        ask_for_commit_safely(repo)

    try:
        with ExitStack() as appending:
            with tracing.batch() as results:
                result = commit_batch(repo, appending=appending, takes_long=let_others_begin)
                results.append(result)
            did(result.line)
            if result.merge:
                if repo.pace.is_far:
                    ask_for_commit_safely(repo)  # the next batch is prepared while the global commit is on its way
                merge_now(repo, result.merge, result.locked)  # a message to the other node would take as long again
    except NeedsUpkeep as error:
        log.info("commit_deferred", reason=type(error).__name__)
        did(f"waits: {type(error).__name__}")
        ask_for_upkeep(repo)
    except Paused:
        log.warning("commits_paused", limit=repo.settings.max_pending)
        did(f"waits: {repo.settings.max_pending} changesets are not merged (max_pending)")
    except UNAVAILABLE as error:
        log.warning("batch_released", reason=type(error).__name__, detail=str(error))
        did(f"given back: {type(error).__name__}")
    except poison.Overdue as error:
        did(f"not done within batch_budget: {error}")
        return True, None  # as with any other fault
    else:
        return result.changesets > 0, result.applied
    return False, None


@worker_process_init.connect
def take_the_place(**_: object) -> None:
    """End the leases of the child in whose place this one was forked, and ask for the work that it left."""
    repo = repository()
    try:
        with budget("lock_ttl", repo.settings.lock_ttl):  # by then they have expired
            orphans = end_orphans(repo.view, {*repo.queue.claimants(), *holders(repo.view)})
            if orphans:
                log.warning("leases_ended", owners=orphans)
                with because("a worker process has died"):
                    ask_for_work(repo)
    except UNAVAILABLE as error:
        log.info("leases_not_ended", reason=str(error))
