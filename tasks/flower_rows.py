"""The rows of Flower: one for every run, except scheduled runs (ticks) that did nothing.

Flower makes a row of any event about a task. Beat sends a few ticks every second or two, and nearly all of them find
nothing to do. Their events are held back until the run does something, and are then sent with their original times.
"""

import time
from typing import Any

import structlog
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.worker.request import Request

from storage.metrics.counts import COUNTS
from storage.metrics.definitions import TASK_FAILURES
from tasks.report import NOTHING, TICK

log = structlog.get_logger()

# How a run ends without its process saying so.
_KILLED = (WorkerLostError, TimeLimitExceeded, Terminated)


class RowRequest(Request):
    """A message about a task, as the node handles it; the task has `send_events` off, since events are sent here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given = self.kwargs
        self._is_held = isinstance(given, dict) and given.get("reason") == TICK
        self._held: list[tuple[str, dict[str, Any]]] = []

    def say_received(self) -> None:
        """Send the event that begins a row; Celery sends it for tasks with `send_events`."""
        self.send_event(
            "task-received",
            name=self.name,
            args=self.argsrepr,
            kwargs=self.kwargsrepr,
            root_id=self.root_id,
            parent_id=self.parent_id,
            retries=self.request_dict.get("retries", 0),
            eta=self.eta and self.eta.isoformat(),
            expires=self.expires and self.expires.isoformat(),
        )

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> None:
        """Handle a run that failed; here is counted and logged what its own process could not say any more."""
        error = getattr(exc_info.exception, "exc", None) or exc_info.exception
        if isinstance(error, _KILLED):
            COUNTS.add(TASK_FAILURES, self.name, type(error).__name__)
            log.error("task_killed", task=self.name, task_id=self.id, error=type(error).__name__, detail=str(error))
        super().on_failure(exc_info, *args, **kwargs)

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Send an event, or hold it back as long as the run of a tick has done nothing."""
        if not (self._eventer and self._eventer.enabled):
            return
        if self._is_held:
            if _is_nothing(type, fields):
                return
            self._held.append((type, {"timestamp": time.time(), **fields}))
            if type in {"task-received", "task-started"}:
                return
            self._is_held = False
            for held, then in self._held:
                self._eventer.send(held, uuid=self.id, **then)
            return
        self._eventer.send(type, uuid=self.id, **fields)


class NoEvents:
    """Swallows the event "sent" of a tick that is passed on: it would be a row that never ends."""

    def publish(self, *_: Any, **__: Any) -> None:
        """Publish nothing."""


def _is_nothing(kind: str, fields: dict[str, Any]) -> bool:
    """Tell whether an event ends a tick that found nothing to do, or that expired because it came too late."""
    if kind == "task-revoked":
        return bool(fields.get("expired"))
    return kind == "task-succeeded" and fields.get("result") == repr(NOTHING)
