"""Reporting what a Celery process counts: a node, each child that runs its tasks, and beat."""

import atexit
import os

from storage.base import settings
from storage.coordination import Reporter

_reporter: tuple[int, Reporter] | None = None  # of a process, by its id: a fork has its parent's


def begin(process: str) -> None:
    """Report what this process counts from now on, as `process`, until it ends in order."""
    global _reporter
    reporter = Reporter(settings.load(), process)
    _reporter = os.getpid(), reporter
    reporter.start()
    atexit.register(end)  # a child of a node ends by another way, and calls it itself


def end() -> None:
    """Report what is left, if it is this process that reports, and not the one that it was forked from."""
    global _reporter
    if _reporter and _reporter[0] == os.getpid():
        _reporter[1].stop()
        _reporter = None
