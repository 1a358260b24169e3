"""Messages to the workers, sent if there is work and no message for it is outstanding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from storage.backends.redis_client import UNAVAILABLE
from storage.coordination.lease import Lease, LeaseName
from storage.repository import Repository
from tasks.base import send
from tasks.celery import app

log = structlog.get_logger()

_ASK_PAUSE = 1.0  # seconds


@contextmanager
def best_effort() -> Iterator[None]:
    """Let messages that are sent in this block cost time only, where Redis is away: upkeep sends what is missing."""
    try:
        yield
    except UNAVAILABLE as error:
        log.warning("notify_failed", reason=str(error))


def ask(repo: Repository, kind: str, limit: int, done: str = "", before: int | None = None) -> None:
    """Send the message of a kind ("commit" or "merge") where Queue.ask says so. Raises RedisError."""
    token = repo.queue.ask(kind, limit, done, before)
    if token and send(app, f"sluice.{kind}", token) is False:
        # Else it would count as on its way until it is taken for lost.
        repo.queue.take_back(kind, token)


def ask_for_commit(repo: Repository, done: str = "", before: int | None = None) -> None:
    """Send a commit message if there is work and no worker has been notified; see Queue.ask."""
    ask(repo, "commit", repo.settings.commit_workers, done, before)


def ask_for_upkeep(repo: Repository) -> None:
    """Send an upkeep message, at most one a second: a view that is gone, or not recovered, need not wait for beat.

    A Redis that is away costs time only.
    """
    with best_effort():
        if Lease(repo.view, LeaseName.UPKEEP_ASKED, _ASK_PAUSE).take_turn():
            send(app, "sluice.upkeep")


def ask_for_merge(repo: Repository) -> None:
    """Send a merge message if something is pending and none is outstanding."""
    ask(repo, "merge", 1)
