"""Room for bodies: how many bytes of requests one API process holds at once.

A single body is bounded, and so must be all of them together: thousands of connections may send one each.
"""

from __future__ import annotations

import threading

from flask import Flask, g, request

from app.errors import too_many
from storage.settings import Settings


class Room:
    """Counts the bytes of the bodies of requests that are being answered."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._taken = 0
        self._lock = threading.Lock()

    def register(self, app: Flask) -> None:
        """Make every request of `app` take room before its body is read."""
        app.before_request(self._enter)
        app.teardown_request(self._leave)

    def _enter(self) -> None:
        if request.method not in {"POST", "PUT", "PATCH"}:
            return
        # A body of unknown length may grow as large as any.
        size = request.content_length if request.content_length is not None else self._settings.max_body_bytes
        size = min(size, self._settings.max_body_bytes)
        with self._lock:
            # One alone always has room, or a low limit would refuse it for ever.
            if self._taken and self._taken + size > self._settings.max_bodies_bytes:
                raise too_many("too many bytes are being received (max_bodies_bytes)", self._settings.retry_after)
            self._taken += size
        g.room = size

    def _leave(self, _error: BaseException | None) -> None:
        size = g.pop("room", 0)
        with self._lock:
            self._taken -= size
