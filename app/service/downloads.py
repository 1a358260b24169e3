"""Answers that are sent while they are made: manifests and archives, as many at once as a process has memory for.

Each takes its pieces one by one, no faster than its client reads them. One that fails in the middle ends without the
last chunk that HTTP has, so that its client notices, and says so in the log.
"""

import threading
from collections.abc import Generator, Iterator
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


class Interrupted(Unavailable):
    """An answer that has begun cannot be completed; its connection is closed."""


class Downloads:
    """The streamed answers of this process."""

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.request_budget
        self._free = threading.BoundedSemaphore(settings.max_downloads)

    def response(self, pieces: Generator[bytes, None, None], media_type: str) -> Response:
        """Answer the present request with `pieces`. Raises LimitReached, and what the first pieces raise."""
        if not self._free.acquire(blocking=False):
            raise LimitReached("too many manifests and archives are being sent (max_downloads)")
        try:
            first = [] if request.method == "HEAD" else list(islice(pieces, _FIRST))
            response = Response(self._send(first, pieces, request_id(), request.path), mimetype=media_type)
        except BaseException:
            self._free.release()
            raise

        # Not at the end of the generator: one that was never begun never ends.
        @response.call_on_close
        def end() -> None:
            pieces.close()
            self._free.release()

        return response

    def _send(
        self, first: list[bytes], pieces: Iterator[bytes], request_id: str, path: str
    ) -> Iterator[bytes]:  # fmt: skip
        yield from first
        first.clear()
        while True:
            try:
                # The request's own is over: nobody knows how long a client reads.
                with deadline.budget("request_budget", self._seconds):
                    piece = next(pieces, None)
            except Exception as error:
                # Whatever it is, its client has to notice, and the status is sent.
                log.warning("download_failed", request=request_id, path=path[:_LONGEST_PATH], error=repr(error))
                raise Interrupted(path) from error
            if piece is None:
                return
            yield piece
