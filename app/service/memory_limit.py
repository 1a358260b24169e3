"""Refusing requests that add something to Redis while it is nearly full, before any part of them is done.

Reads, and requests that make room, are served. A request that passed below the limit may still meet a Redis that is
full by then; the client gets the same answer (app/protocol/problems.py).
"""

from flask import Flask, request

from app.protocol.problems import unavailable
from storage.repository import Repository

# Of the methods that write, those that add nothing that stays: they say what would be, make room, or ask for a merge.
_ADDS_NOTHING = frozenset({"lifecycle.abandon_one", "lifecycle.check", "operations.merge", "file_contents.contents"})
_METHODS = frozenset({"POST", "PUT", "PATCH"})


def register(app: Flask, repo: Repository) -> None:
    """Ask before each request of `app` that adds something how full Redis is, as it was within the last second."""

    def enter() -> None:
        adds = request.method in _METHODS and request.endpoint is not None and request.endpoint not in _ADDS_NOTHING
        if adds and repo.memory.is_high():
            part = repo.memory.now().part
            detail = f"Redis has little memory left: {part:.0%} of its maxmemory is used (redis_memory_high)"
            raise unavailable(detail, repo.settings.retry_after)

    app.before_request(enter)
