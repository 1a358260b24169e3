"""The task that merges: one global merge (storage/commit/global_merge.py), then messages for what is left."""

import time

import structlog

from storage.backends.deadline import budget
from storage.backends.redis_client import UNAVAILABLE
from storage.base.errors import NeedsUpkeep
from storage.commit import PreparedMerge, merge_batch
from storage.repository import Repository
from tasks import tracing
from tasks.base import SluiceTask, repository
from tasks.celery import app
from tasks.notify import ask_for_upkeep, ask_for_work
from tasks.report import did

log = structlog.get_logger()


@app.task(name="sluice.merge", base=SluiceTask, ignore_result=True, acks_late=True)
def merge(token: str = "", reason: str = "") -> None:
    """Make one batch merge; if more is pending, send the next message. `reason` is for people."""
    repo = repository()
    try:
        with repo.heartbeat.of_message("merge", token):
            merge_now(repo)
    finally:
        # The shortest tick that there is: commits that could not reach the bucket are tried again at each.
        ask_for_work(repo, merged=token)


def merge_now(repo: Repository, stored: PreparedMerge | None = None, locked: bool = False) -> None:
    """Make one batch merge (see merge_batch), and report it; a server that is away costs time only."""
    try:
        with budget("batch_budget", repo.settings.batch_budget):
            began = time.time()
            result = merge_batch(repo, stored, locked)
            did(result.line)
            tracing.merged(repo, result, began)
    except NeedsUpkeep as error:
        log.info("merge_waits", reason=type(error).__name__)
        did(f"waits: {type(error).__name__}")
        ask_for_upkeep(repo)
    except UNAVAILABLE as error:
        log.warning("merge_waits", reason=type(error).__name__, detail=str(error))
        did(f"waits: {type(error).__name__}")
