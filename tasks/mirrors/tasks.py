"""The tasks of mirrors: one that looks which have to be pushed to, and one that pushes to one mirror."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path

import structlog
from celery.signals import worker_shutting_down

from storage.backends.redis_client import UNAVAILABLE
from storage.git.run_git import GitFailed
from tasks.base import SluiceTask, repository
from tasks.celery import app
from tasks.mirrors.due import due
from tasks.mirrors.push import push
from tasks.mirrors.source import Source
from tasks.notify import ask_for_push
from tasks.report import did

log = structlog.get_logger()

_stopping = threading.Event()


@cache
def _source() -> Source:
    repo = repository()
    return Source(repo, Path(repo.settings.mirror_folder))


@app.task(name="sluice.mirrors", base=SluiceTask, ignore_result=True, acks_late=True)
def look(reason: str = "") -> None:
    """Send a message for each mirror that has to be looked at. `reason` is for people."""
    try:
        for name in due(repository()):
            ask_for_push(name)
    except UNAVAILABLE as error:
        log.info("mirrors_wait", reason=type(error).__name__, detail=str(error))


@app.task(name="sluice.mirror", base=SluiceTask, ignore_result=True, acks_late=True)
def run(mirror: str, reason: str = "") -> None:
    """Push what landed to a mirror. `reason` is for people."""
    try:
        did(push(repository(), mirror, _source(), _stopping))
    except GitFailed as error:
        # Its repository may have been deleted in between: the next run makes it again.
        log.info("mirror_waits", mirror=mirror, reason=type(error).__name__, detail=str(error))
        did("waits: GitFailed")
    except UNAVAILABLE as error:
        log.info("mirror_waits", mirror=mirror, reason=type(error).__name__, detail=str(error))
        did(f"waits: {type(error).__name__}")


@worker_shutting_down.connect
def stop(**_: object) -> None:
    """Begin no further push; one that is under way ends, or is killed with the node, which does no harm."""
    _stopping.set()
