"""What all tasks share, once: the repository of this process, ids in the log, timing, and messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import structlog
from celery import Celery, Task
from celery.exceptions import SoftTimeLimitExceeded
from redis.exceptions import RedisError

from storage.bucket import BucketError
from storage.direct import LogBusy
from storage.repository import Repository
from storage.scripts import ViewAbsent, ViewStale
from storage.settings import Settings, load
from tasks.apart import apart

log = structlog.get_logger()

# What ends work that the next run of its task will do as well.
PASSING = (ViewAbsent, ViewStale, LogBusy, BucketError, RedisError)


@cache
def repository() -> Repository:
    """Return this process's repository, opened on first use (that is, after a worker has forked)."""
    return Repository(load())


class SluiceTask(Task):
    """The base of every task: binds its ids to the log, and says how each run ended and how long it took."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task."""
        with structlog.contextvars.bound_contextvars(task=self.name, task_id=self.request.id):
            started = time.monotonic()
            try:
                result = super().__call__(*args, **kwargs)
            except Exception as error:
                log.error("task_failed", error=type(error).__name__, detail=str(error), seconds=_since(started))
                raise
            log.debug("task_done", seconds=_since(started))
            return result


def run_apart(work: Callable[[Repository], object], settings: Settings) -> bool:
    """Run `work` in a process of its own (tasks/apart.py), on a repository that is opened there.

    What cannot be done without the view, or while a server is away, is left to the next run: tells whether it was done.
    Raises EndedBadly.
    """

    def run() -> bool:
        try:
            work(Repository(settings))
        except PASSING as reason:
            log.warning("work_waits", work=work.__name__, reason=type(reason).__name__, detail=str(reason))
            return False
        return True

    return apart(run)


def send(app: Celery, task: str, token: str | None = None) -> bool:
    """Send a message, with the token that the queue gave for it; tell whether it was sent.

    A broker that is away, or that refuses it (its Redis is full, or a replica), costs time only.
    """
    try:
        app.send_task(task, kwargs={} if token is None else {"token": token})
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # noqa: BLE001 - kombu says in many ways that a connection broke under it
        log.warning("message_not_sent", message=task, reason=type(error).__name__, error=str(error))
        return False
    return True


class Stopwatch:
    """Microseconds by stage, for the log and the benchmark."""

    def __init__(self) -> None:
        self.stages: dict[str, int] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of this block to stage `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0) + int((time.perf_counter() - started) * 1e6)

    def fields(self) -> dict[str, int]:
        """Return the stages as fields of a log event."""
        return {f"{name}_us": spent for name, spent in self.stages.items()}


def _since(started: float) -> float:
    return round(time.monotonic() - started, 4)
