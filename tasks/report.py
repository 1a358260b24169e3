"""One line about what a run of a task did, and the reason why its message was sent.

The line is the task's result, which Flower takes from the event of the run's end: there is no result backend. Both are
in context variables, so that any function that is called during the run can add to them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

# The reason of what beat sends. A run that begins with a tick and ends with NOTHING is reported nowhere.
TICK = "tick"
NOTHING = "nothing to do"
# Characters of a line; Celery cuts a result at 1,024.
LONGEST = 500


@dataclass(slots=True)
class Run:
    """One run of a task: its name, why its message was sent, and what it has done so far."""

    task: str
    reason: str
    lines: list[str] = field(default_factory=list)

    @property
    def result(self) -> str:
        """What it did, in one line."""
        return ", ".join(self.lines)[:LONGEST] or NOTHING

    @property
    def is_idle(self) -> bool:
        """Whether a tick began it and it has done nothing."""
        return self.reason == TICK and not self.lines


_run: ContextVar[Run | None] = ContextVar("run", default=None)
_reason: ContextVar[str] = ContextVar("reason", default="")


@contextmanager
def running(task: str, reason: str) -> Iterator[Run]:
    """Let `did` in this block be about a run of a task."""
    run = Run(task, reason)
    token = _run.set(run)
    try:
        yield run
    finally:
        _run.reset(token)


def did(line: str) -> None:
    """Add a line about what the present run has done; outside of a run it has no effect."""
    run = _run.get()
    if run is not None and line:
        run.lines.append(line)


@contextmanager
def because(reason: str) -> Iterator[None]:
    """Give messages that are sent in this block a reason that a person can read."""
    token = _reason.set(reason)
    try:
        yield
    finally:
        _reason.reset(token)


def reason() -> str:
    """Return the reason of a message that is sent now: that of the tick, as long as its run has done nothing."""
    run = _run.get()
    if run is None:
        return _reason.get() or "asked for"
    return TICK if run.is_idle else f"after {run.task}"
