"""The task that commits one bounded batch (storage/commit/batch.py)."""

from __future__ import annotations

import time

import structlog

from storage.backends.redis_client import UNAVAILABLE
from storage.base.errors import NeedsUpkeep, Paused
from storage.commit import poison
from storage.commit.batch import commit_batch
from tasks.base import SluiceTask, repository
from tasks.celery import app
from tasks.notify import ask_for_commit, ask_for_merge, ask_for_upkeep, best_effort
from tasks.report import did

log = structlog.get_logger()


@app.task(name="sluice.commit", base=SluiceTask, ignore_result=True, acks_late=True)
def commit(token: str = "", reason: str = "") -> None:
    """Commit one bounded batch; if work is left, send the next message. `reason` is for people."""
    repo = repository()
    started = int(time.time() * 1000)
    moved = False
    try:
        result = commit_batch(repo)
        moved = result.changesets > 0
        did(result.line)
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
        moved = True  # as below
        did(f"not done within batch_budget: {error}")
    except Exception:
        moved = True  # somebody is suspected now, and the others need not wait
        raise
    finally:
        with best_effort():
            ask_for_merge(repo)
            ask_for_commit(repo, done=token, before=None if moved else started)
