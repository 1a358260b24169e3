"""Answers that are sent while they are made: manifests and archives, as many at once as a process has memory for.

Each takes its pieces one by one, no faster than its client reads them. One that fails in the middle ends without the
last chunk that HTTP has (HTTP/1.0 has no chunks: by a reset), so that its client notices, and says so in the log. So
does the slowest of them where another client finds no place: who reads slowly does not keep all others from reading.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import islice

from flask import Response, request

from app.protocol.problems import request_id
from storage.backends import deadline
from storage.base.errors import LimitReached, Unavailable
from storage.base.logging_setup import log
from storage.base.settings import Settings

# Pieces that are made before the status is sent, so that what fails at once is answered by a problem document.
_FIRST = 2
_LONGEST_PATH = 300
# How many times min_rate a client has to read, on average over more than send_timeout, to keep its place when another
# finds none.
_KEEPS_ITS_PLACE = 16
# Contents that are a large answer (bytes), and how many of these are read and encoded at once.
_LARGE, _LARGE_AT_ONCE = 256 << 10, 4


class Interrupted(Unavailable):
    """An answer that has begun cannot be completed; its connection is closed."""


class _Sending:
    """The answer of the present request on its way; `cut` ends its transfer, None if that is impossible."""

    def __init__(self) -> None:
        self.request, self.path = request_id(), request.path[:_LONGEST_PATH]
        connection = request.environ.get("gunicorn.socket")
        self.cut: Callable[[], None] | None = getattr(connection, "cut", None)
        self._end_by_reset: Callable[[bool], None] | None = None
        if request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
            self._end_by_reset = getattr(connection, "end_by_reset", None)
        self._taken = 0  # bytes that the client has taken
        self._waited = 0.0  # seconds for which its client was waited for
        self._since: float | None = None  # when the wait for it began

    def is_whole(self, whole: bool) -> None:
        """Say whether the client may take the end of the connection for that of the answer."""
        if self._end_by_reset:  # else the framing of the answer tells
            self._end_by_reset(not whole)

    def given(self) -> None:
        """Note that the client has a piece to take."""
        self._since = time.monotonic()

    def took(self, size: int) -> None:
        """Note that the client has taken the piece, of so many bytes."""
        self._waited, self._since = self.waited, None
        self._taken += size

    @property
    def waited(self) -> float:
        """Seconds for which its client was waited for until now."""
        return self._waited + (time.monotonic() - self._since if self._since is not None else 0.0)

    @property
    def rate(self) -> float:
        """Bytes that its client has taken in each second for which it was waited for."""
        return self._taken / max(self.waited, 0.001)


class Downloads:
    """The streamed answers of this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._free = threading.BoundedSemaphore(settings.max_downloads)
        self._large = threading.BoundedSemaphore(_LARGE_AT_ONCE)
        self._sending: set[_Sending] = set()

    @contextmanager
    def reading(self, size: int) -> Iterator[None]:
        """Make an answer of so many bytes of contents in this block; a large one waits for its turn. Raises Spent."""
        if size <= _LARGE:
            yield
            return
        if not self._large.acquire(timeout=deadline.left(threading.TIMEOUT_MAX)):
            raise deadline.Spent("request_budget")
        try:
            yield
        finally:
            self._large.release()

    def response(self, pieces: Generator[bytes, None, None], media_type: str) -> Response:
        """Answer the present request with `pieces`. Raises LimitReached, and what the first pieces raise."""
        if not self._free.acquire(blocking=False):
            self._cut_slowest()
            raise LimitReached("too many manifests and archives are being sent (max_downloads)")
        sending = _Sending()
        try:
            first = [] if request.method == "HEAD" else list(islice(pieces, _FIRST))
            response = Response(self._send(first, pieces, sending), mimetype=media_type)
        except BaseException:
            self._free.release()
            raise

        self._sending.add(sending)

        # Not at the end of the generator: one that was never begun never ends.
        @response.call_on_close
        def end() -> None:
            self._sending.discard(sending)
            self._free.release()
            pieces.close()

        return response

    def _cut_slowest(self) -> None:
        """End the answer whose client reads most slowly, if that is slow: who is refused now finds its place then."""
        slow = [sending for sending in self._sending if sending.waited > self._settings.send_timeout and sending.cut]
        slowest = min(slow, key=lambda sending: sending.rate, default=None)
        if slowest and slowest.cut and slowest.rate < _KEEPS_ITS_PLACE * self._settings.min_rate:
            self._sending.discard(slowest)
            log.info("download_cut", request=slowest.request, rate=round(slowest.rate))
            slowest.cut()

    def _send(self, first: list[bytes], pieces: Iterator[bytes], sending: _Sending) -> Iterator[bytes]:
        sending.is_whole(False)
        for piece in self._pieces(first, pieces, sending):
            sending.given()
            yield piece
            sending.took(len(piece))
        sending.is_whole(True)

    def _pieces(self, first: list[bytes], pieces: Iterator[bytes], sending: _Sending) -> Iterator[bytes]:
        while first:
            yield first.pop(0)
        while True:
            try:
                # The request's own is over: nobody knows how long a client reads.
                with deadline.budget("request_budget", self._settings.request_budget):
                    piece = next(pieces, None)
            except Exception as error:
                # Whatever it is, its client has to notice, and the status is sent.
                log.warning("download_failed", request=sending.request, path=sending.path, error=repr(error))
                raise Interrupted(sending.path) from error
            if piece is None:
                return
            yield piece
