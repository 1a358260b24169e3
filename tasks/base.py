"""What all tasks share: the repository of the process, ids in the log, timing, and sending messages."""

import json
import os
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import structlog
from celery import Celery, Task
from celery.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import OperationalError

from storage.backends.redis_client import UNAVAILABLE
from storage.base.settings import Settings, load
from storage.metrics.counts import COUNTS
from storage.metrics.definitions import MESSAGES_NOT_SENT, TASK_FAILURES, TASK_SECONDS
from storage.repository import Repository
from tasks import report
from tasks.flower_rows import NoEvents
from tasks.node import run_forked
from tasks.report import did

log = structlog.get_logger()


@cache
def repository() -> Repository:
    """Return this process's repository, opened on first use (that is, after a worker has forked)."""
    return Repository(load())


class SluiceTask(Task):
    """The base of every task: binds its ids to the log, and says what each run did and how long it took."""

    # What is a row in Flower is decided there, and not by Celery.
    Request = "tasks.flower_rows:RowRequest"
    send_events = False

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        """Run the task, and return what it did in one line."""
        with (
            structlog.contextvars.bound_contextvars(task=self.name, task_id=self.request.id),
            report.running(self.name, str(kwargs.get("reason", ""))) as run,
        ):
            started = time.monotonic()
            try:
                super().__call__(*args, **kwargs)
            except Exception as error:
                COUNTS.observe(TASK_SECONDS, time.monotonic() - started, self.name, "failed")
                COUNTS.add(TASK_FAILURES, self.name, type(error).__name__)
                log.exception("task_failed", error=type(error).__name__, detail=str(error), seconds=_since(started))
                # Celery would log it once more.
                error.is_logged = True  # type: ignore[attr-defined]
                raise
            COUNTS.observe(TASK_SECONDS, time.monotonic() - started, self.name, "idle" if run.is_idle else "done")
            say = log.debug if run.is_idle else log.info
            say("task_done", result=run.result, reason=run.reason, seconds=_since(started))
            return run.result


def run_job(work: Callable[[Repository], object], settings: Settings) -> bool:
    """Run `work` in a subprocess (tasks/node/forked.py), on a repository opened there; tell whether it was done.

    Without a view, or while a server is unavailable, it is left to the next run. Lines that it reports with `did`
    belong to the present run. Raises EndedBadly.
    """
    reading, writing = os.pipe()

    def run() -> bool:
        with report.running(work.__name__, report.TICK) as inner:
            try:
                work(Repository(settings))
            except UNAVAILABLE as reason:
                kind, of_system = type(reason).__name__, isinstance(reason, OSError)
                log.warning("job_deferred", work=work.__name__, reason=kind, detail=str(reason), exc_info=of_system)
                did(f"waits: {type(reason).__name__}")
                return False
            finally:
                # Less than a pipe holds, so that nobody waits.
                os.write(writing, json.dumps([inner.is_idle, inner.result, [*COUNTS.take().items()]]).encode())
        return True

    try:
        done = run_forked(run)
    finally:
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            _take_report(pipe.read())
    return done


def _take_report(written: bytes) -> None:
    """Take over what a job has done and counted; nothing, where it was killed before it could say so."""
    if not written:
        return
    is_idle, result, counted = json.loads(written)
    if not is_idle:
        did(result)
    COUNTS.take_over({(name, tuple(labels), bucket): count for (name, labels, bucket), count in counted})


def _since(started: float) -> float:
    return round(time.monotonic() - started, 4)


def send(app: Celery, task: str, token: str | None = None, expires: float | None = None, **more: str) -> bool:
    """Send a message, with the token that the queue gave for it, and what else it says; tell whether it was sent.

    One that nobody has taken when it `expires` (seconds) is dropped.

    If the broker is unavailable, or refuses it (its Redis is full, or a replica), the work is only delayed.
    """
    reason = report.reason()
    kwargs = {"reason": reason, **more} | ({} if token is None else {"token": token})
    options: dict[str, Any] = {"event_dispatcher": NoEvents()} if reason == report.TICK else {}
    if expires is not None:
        options["expires"] = expires
    try:
        app.send_task(task, kwargs=kwargs, **options)
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # kombu says in many ways that a connection broke under it
        COUNTS.add(MESSAGES_NOT_SENT, task)
        unknown = not isinstance(error, (*UNAVAILABLE, OperationalError))
        log.warning("message_not_sent", message=task, reason=type(error).__name__, error=str(error), exc_info=unknown)
        return False
    return True
