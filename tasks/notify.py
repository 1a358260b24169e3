"""Messages to the workers, sent if there is work and no message for it is outstanding."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import structlog
from redis.exceptions import RedisError

from storage.coordination import Lease, LeaseName
from storage.repository import Repository
from tasks.base import send
from tasks.celery import app
from tasks.report import because

log = structlog.get_logger()

_ASK_PAUSE = 1.0  # seconds
# A message for a webhook, or a mirror, that no run has taken by then is dropped: the next look sends another one.
_DELIVERY_EXPIRES = 10.0


class EndedRun(NamedTuple):
    """A run of the commit task that ends, for whoever decides whether it is to be followed by another one."""

    before: int | None = None  # ms; work that was tried since then does not count, see lua/messages/message.lua
    applied: float | None = None  # when its entry was in the view, by the monotonic clock; None: it made none
    pause: float = 0.0  # seconds that the next message waits, if changesets keep coming and are not a batch yet


NO_RUN = EndedRun()


def ask(repo: Repository, kind: str, limit: int, done: str = "", run: EndedRun = NO_RUN, gathers: bool = False) -> bool:
    """Send the message of a kind ("commit" or "merge") where Queue.ask says so; tell whether. Raises RedisError."""
    since = None if run.applied is None else time.monotonic() - run.applied
    permit = repo.queue.ask(kind, limit, done, run.before, gathers, since)
    if permit is None:
        return False
    try:
        if permit.waits:
            time.sleep(run.pause)
    finally:  # a stop ends the pause
        sent = send(app, f"sluice.{kind}", permit.token)
        if not sent:
            # Else it would count as on its way until it is taken for lost.
            repo.queue.take_back(kind, permit.token)
    return sent


def ask_for_commit(repo: Repository, done: str = "", run: EndedRun = NO_RUN) -> bool:
    """Send a commit message if there is work and no worker has been notified, and tell whether; see Queue.ask.

    Not for a few changesets while a batch is under way: they are in the next one. Where the store is far, the next one
    is made while this one is on its way.
    """
    return ask(repo, "commit", repo.settings.commit_workers, done, run, gathers=not repo.pace.is_far)


def ask_for_upkeep(repo: Repository) -> None:
    """Send an upkeep message, at most one a second: a view that is gone, or not recovered, need not wait for beat.

    A Redis that is away costs time only.
    """
    with _costs_time_only():
        if Lease(repo.view, LeaseName.UPKEEP_ASKED, _ASK_PAUSE).take_turn():
            send(app, "sluice.upkeep")


def ask_for_delivery(webhook: str) -> None:
    """Send the message that has events delivered to a webhook; one that is lost costs time only."""
    send(app, "sluice.deliver", expires=_DELIVERY_EXPIRES, webhook=webhook)


def ask_for_push(mirror: str) -> None:
    """Send the message that has what landed pushed to a mirror; one that is lost costs time only."""
    send(app, "sluice.mirror", expires=_DELIVERY_EXPIRES, mirror=mirror)


def ask_for_merge(repo: Repository) -> None:
    """Send a merge message if something is pending and none is outstanding."""
    ask(repo, "merge", 1)


def ask_for_commit_safely(repo: Repository) -> bool:
    """Notify the workers of a submission, and tell whether; a Redis that is away costs time only."""
    with _costs_time_only(), because("a submission"):
        return ask_for_commit(repo)
    return False


def ask_for_work(repo: Repository, committed: str = "", run: EndedRun = NO_RUN, merged: str = "") -> None:
    """Send a merge and a commit message where there is work for them; a Redis that is away costs time only.

    `committed` or `merged` is the token of the message that was dealt with, and `run` the run that ends.
    """
    with _costs_time_only():
        ask(repo, "merge", 1, merged)
        ask_for_commit(repo, committed, run)


@contextmanager
def _costs_time_only() -> Iterator[None]:
    # Beat's ticks ask for the same again.
    try:
        yield
    except RedisError as error:
        log.warning("notify_failed", reason=str(error))
