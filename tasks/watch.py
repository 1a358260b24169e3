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

_LOOK_EVERY = 1.0  # seconds


class Watch(threading.Thread):
    """The thread that looks, for as long as its node lives; no message of the broker is needed to make room."""

    def __init__(self) -> None:
        super().__init__(name="redis-memory", daemon=True)

    def run(self) -> None:
        """Look, and wait for who makes room."""
        repo = Repository(settings.load())
        while True:
            time.sleep(_LOOK_EVERY)
            try:
                if repo.memory.is_tight():
                    told = repo.memory.now()
                    log.warning("redis_memory_tight", used=told.used, limit=told.limit)
                    make_room()
            except Exception:
                log.exception("relief_failed")


def make_room() -> None:
    """Run tasks/relief.py in another interpreter: what it takes of memory goes with it, and it ends with this node."""
    argv = [sys.executable, "-m", "tasks.relief", str(os.getpid())]
    subprocess.run(argv, check=False, stdin=subprocess.DEVNULL)
