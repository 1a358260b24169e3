"""A node's look at how full Redis is. Where it is too full, room is made by a process of its own (tasks/relief.py)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import structlog

from storage import settings
from storage.repository import Repository

log = structlog.get_logger()

# Seconds until the first look, by when the node has forked its first children, and between two.
_FIRST_LOOK, _LOOK_EVERY = 5.0, 1.0


class Watch(threading.Thread):
    """The thread that looks, for as long as its node lives; no message of the broker is needed to make room.

    It says nothing while all is well: the node forks children at times, which inherit no lock that it holds.
    """

    def __init__(self) -> None:
        super().__init__(name="redis-memory", daemon=True)

    def run(self) -> None:
        """Look, and wait for who makes room."""
        time.sleep(_FIRST_LOOK)
        repo = Repository(settings.load())
        while True:
            time.sleep(_LOOK_EVERY)
            try:
                if repo.memory.is_tight():
                    make_room()
            except Exception:
                log.exception("relief_failed")


def make_room() -> None:
    """Run tasks/relief.py in another interpreter: what it takes of memory goes with it, and it ends with this node."""
    argv = [sys.executable, "-m", "tasks.relief", str(os.getpid())]
    subprocess.run(argv, check=False, stdin=subprocess.DEVNULL)
