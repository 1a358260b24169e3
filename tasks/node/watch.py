"""A node's check of Redis's memory. If too much is used, it starts a process that makes room (tasks/relief.py)."""

import logging
import os
import subprocess
import sys
import threading
import time

from storage.base import logging_setup, settings
from storage.repository import Repository

# Seconds until the first look, by when the node has forked its first children, and between two.
_FIRST_LOOK, _LOOK_EVERY = 5.0, 1.0
# After each failure in turn the pause is twice as long, up to so many seconds: a process costs every node its start.
_LONGEST_PAUSE = 60.0


class Watch(threading.Thread):
    """The thread that checks, for as long as its node lives; no message of the broker is needed to make room.

    The process that it starts logs what happens. This thread does not use the logger: a child that the node forks at
    that moment would inherit the logger's lock in its locked state. It writes its own events without a lock.
    """

    def __init__(self) -> None:
        super().__init__(name="redis-memory", daemon=True)

    def run(self) -> None:
        """Check Redis's memory, and wait for the process that makes room."""
        time.sleep(_FIRST_LOOK)
        repo = Repository(settings.load())
        pause = _LOOK_EVERY
        while True:
            time.sleep(pause)
            pause = _LOOK_EVERY if look(repo) else min(2 * pause, _LONGEST_PAUSE)


def look(repo: Repository) -> bool:
    """Make room if Redis is too full, and tell whether that succeeded."""
    try:
        code = make_room() if repo.memory.is_tight() else 0
    except Exception as error:  # noqa: BLE001 - the thread has to live for as long as its node
        _say("relief_failed", error=type(error).__name__, detail=str(error))
        return False
    if code:
        _say("relief_failed", code=code)
    return code == 0


def make_room() -> int:
    """Run tasks/relief.py in another interpreter, which ends with this node, and return its exit status.

    The memory that it uses is freed at its end.
    """
    argv = [sys.executable, "-m", "tasks.relief", str(os.getpid())]
    return subprocess.run(argv, check=False, stdin=subprocess.DEVNULL).returncode


def _say(event: str, **fields: object) -> None:
    if logging_setup.level() <= logging.ERROR:
        os.write(2, (logging_setup.line(event, "error", **fields) + "\n").encode())
