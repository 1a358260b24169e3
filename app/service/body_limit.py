"""Limits on the bytes of all bodies and of all answers that one API process holds at once.

Each body is limited, and all of them together must be too, since thousands of connections may have one each. A body
counts by the bytes that have arrived. If a limit is reached, the oldest transfer is ended, if it is older than a
second: a client that sends or reads slowly does not make others wait.
"""

import io
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import IO, Any

from flask import Flask, Request, Response, g, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from app.access.caller import STRANGER, Caller
from app.protocol.problems import Problem, http_problem, malformed, respond, too_many
from app.service.connection import BrokenBody, TooSlow
from app.shares.limits import QuotaReached, limits_of
from storage.backends.turns import breathe
from storage.base.errors import Unavailable
from storage.base.settings import Settings

# What has been on its way for so many seconds is slow, where another needs the room.
_SLOW = 1.0
# The methods whose body is used; and how much of any other one is read at once.
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_PIECE = 64 << 10


class Full(Unavailable):
    """The limit is reached."""


class OwnerFull(Full):
    """The limit of one principal is reached."""


class Share:
    """The bytes that one request holds of a pool; `cut` ends its transfer, None if that is impossible.

    With `most`, all shares of its `owner` together have so many.
    """

    def __init__(self, cut: Callable[[], None] | None, owner: str = "", most: int = 0) -> None:
        self.owner, self.most = owner, most
        self.size = 0
        self.began = time.monotonic()
        self.cut = cut
        self.lost = False


class Pool:
    """A number of bytes for all requests together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._shares: set[Share] = set()
        self._of: Counter[str] = Counter()  # by owner
        self._lock = threading.Lock()

    def grow(self, share: Share, size: int) -> None:
        """Give a share so many bytes more. Raises Full.

        One alone always has room, or a low limit would refuse it for ever; and nothing more needs none.
        """
        with self._lock:
            others = self._of[share.owner] - share.size
            if size and share.most and others > 0 and others + share.size + size > share.most:
                raise OwnerFull
            while size and not share.lost and self._taken > share.size and self._taken + size > self._most:
                if not self._make_room(share):
                    raise Full
            if share.lost:
                raise Full
            self._shares.add(share)
            self._count(share, size)

    def release(self, share: Share) -> None:
        """Take back all that a share has."""
        with self._lock:
            self._shares.discard(share)
            self._count(share, -share.size)

    def held_by(self, owner: str) -> int:
        """Return how many bytes an owner's shares have together."""
        with self._lock:
            return self._of[owner]

    def _count(self, share: Share, size: int) -> None:
        share.size += size
        self._taken += size
        self._of[share.owner] += size
        if not self._of[share.owner]:
            del self._of[share.owner]

    def _make_room(self, asking: Share) -> bool:
        oldest = min((share for share in self._shares if share.cut), key=lambda share: share.began, default=None)
        if oldest is None or oldest is asking or time.monotonic() - oldest.began < _SLOW:
            return False
        self._shares.discard(oldest)
        self._count(oldest, -oldest.size)
        oldest.lost = True
        assert oldest.cut is not None
        oldest.cut()
        return True


class BodyLimit:
    """Bounds the bytes of the bodies and answers of all requests under way."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bodies = Pool(settings.max_bodies_bytes)
        self._answers = Pool(settings.max_answers_bytes)

    def bodies_of(self, principal: str) -> int:
        """Return how many bytes of a principal's bodies this process has received and not answered."""
        return self._bodies.held_by(principal)

    def register(self, app: Flask) -> None:
        """Have every request of `app` read its body first, within its room, and bound what is answered.

        Whatever else is to be measured by the time that a request takes is registered after this: the client decides
        how long its body takes.
        """
        app.extensions["body_limit"] = self
        app.before_request(self._enter)
        app.after_request(self._answer)
        app.teardown_request(self._leave)

    def _enter(self) -> None:
        # Each use of the proxy takes as long as a call.
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]
        environ = asked.environ
        used = asked.method in _WITH_BODY and asked.url_rule is not None
        who: Caller = g.get("caller", STRANGER)
        most = limits_of(self._settings, who).bodies_bytes
        g.room = share = Share(_ending(environ, "stop_reading"), who.principal, most)
        counted = _Counted(environ["wsgi.input"], lambda size: self._bodies.grow(share, size if used else 0))
        environ["wsgi.input"] = counted
        try:
            if used:
                g.body = _whole(asked, counted)
            else:
                # Read, so that the next request of the connection begins behind it, and kept by nobody: it needs no
                # room, whatever its answer waits for.
                _drop(asked.stream)
            # Where a body says no length, werkzeug ends it at the limit without a word.
            if asked.content_length is None and "wsgi.input_terminated" in environ and counted.read(1):
                raise RequestEntityTooLarge
        except TooSlow as error:
            raise http_problem(408, f"the body takes too long ({error}, min_rate)") from None
        except (Full, ClientDisconnected, BrokenBody) as error:
            if isinstance(error, OwnerFull):
                detail = f"bodies of {who.principal} have more than {most} bytes (bodies_bytes)"
                raise QuotaReached(detail, "bodies_bytes", most) from None
            if share.lost or isinstance(error, Full):
                raise self._full("received", "max_bodies_bytes") from None
            if isinstance(error, BrokenBody):
                raise malformed(f"the body is not framed as HTTP has it: {error}") from None
            raise
        share.cut = None  # it is whole, and will be answered

    def _full(self, what: str, setting: str) -> Problem:
        return too_many(f"too many bytes are being {what} ({setting})", self._settings.retry_after)

    def _answer(self, response: Response) -> Response:
        size = response.content_length
        if not size or response.is_streamed:
            return response
        share = Share(_ending(request.environ, "cut"))
        try:
            self._answers.grow(share, size)
        except Full:
            response.close()
            full = self._full("sent", "max_answers_bytes")
            g.problem = full
            response = respond(full)
        response.call_on_close(lambda: self._answers.release(share))
        return response

    def _leave(self, _error: BaseException | None) -> None:
        share = g.pop("room", None)
        if share is not None:
            self._bodies.release(share)


class _Counted:
    """A body that counts what is read of it."""

    def __init__(self, source: Any, count: Callable[[int], None]) -> None:
        self._source = source
        self._count = count

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes. Raises Full."""
        data: bytes = self._source.read(size)
        self._count(len(data))
        breathe()
        return data


def body() -> bytes:
    """Return the body of the present request."""
    data: bytes = g.body
    return data


def _whole(asked: Request, source: _Counted) -> bytes:
    """Return the body of a request, read once, in pieces that count as they arrive.

    Raises RequestEntityTooLarge where it says, or turns out, to be larger than MAX_CONTENT_LENGTH.
    """
    left, most = asked.content_length, asked.max_content_length
    if left is None or left > _PIECE or (most is not None and left > most):
        return asked.get_data()
    pieces = []
    while left and (piece := source.read(left)):
        pieces.append(piece)
        left -= len(piece)
    data = b"".join(pieces)
    asked.environ["wsgi.input"] = io.BytesIO(data)  # for whoever reads the body by werkzeug's means
    return data


def _drop(stream: IO[bytes]) -> None:
    # To read a stream of werkzeug's at its limit means, to it, to want more than the limit.
    while not getattr(stream, "is_exhausted", False) and stream.read(_PIECE):
        pass


def _ending(environ: dict[str, Any], how: str) -> Callable[[], None] | None:
    """Return what ends the transfer of a request, if the server has that."""
    ending: Callable[[], None] | None = getattr(environ.get("gunicorn.socket"), how, None)
    return ending
