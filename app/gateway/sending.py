"""One request while it is answered: watched for its caller's rights, and counted when all is sent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Self, TypeVar

from flask import Response, g, request
from werkzeug.wsgi import wrap_file

from app.access.current import caller
from app.gateway.answers import Reader
from app.gateway.git_processes import GitProcess
from app.gateway.services import Gateway, gateway
from app.gateway.stores import Found
from app.gateway.streams import Output, Running, Sent, Source
from storage.base.logging_setup import log
from storage.metrics.counts import COUNTS
from storage.metrics.definitions import GIT_ANSWERS, GIT_BYTES

T = TypeVar("T")


def answer(content: bytes | Sent, kind: str) -> Response:
    """Return a response of Git's protocol, which nobody on the way may keep."""
    return _typed(Response(content), kind)


def _typed(response: Response, kind: str) -> Response:
    response.headers["Content-Type"] = kind
    response.headers["Cache-Control"] = "no-cache, max-age=0, must-revalidate"
    return response


class Exchange:
    """The present request about a store: as a context it is watched, until its response has been sent."""

    def __init__(self, found: Found) -> None:
        self.here: Gateway = gateway()
        self.found = found
        self.who = who = caller()
        self._began = time.monotonic()
        self._is_handed_on = False
        renewed = self.here.access.renewed

        def may_go_on() -> bool:
            now = renewed(who)
            return now is not None and self.found.is_for(now)

        self._running = Running(may_go_on, request.environ.get("gunicorn.socket"))
        self._until_sent = ExitStack()

    def __enter__(self) -> Self:
        self.here.watch.enter(self._running)
        self._until_sent.callback(self.here.watch.leave, self._running)
        self._place: Callable[[], None] = g.pop("place", _nothing)
        self._until_sent.callback(lambda: self._place())
        return self

    def hand_on_place(self) -> Callable[[], None]:
        """Have the request count as under way until the result is called, and not until its answer is sent."""
        place, self._place = self._place, _nothing
        return place

    def __exit__(self, *exc: object) -> None:
        if not self._is_handed_on:
            self._until_sent.close()

    def catch_up(self) -> None:
        """Have the store at least where the view was when the request came. Raises a Problem, and Unavailable."""
        self.found = self.here.current(self.who, self.found.name, self.found)

    def use(self) -> Path:
        """Keep the store from being removed until all is sent, and return where it is. Raises Unavailable."""
        return self._until_sent.enter_context(self.found.store.using())

    def alone(self, start: Callable[[], GitProcess], kind: str, head: bytes = b"") -> Response:
        """Return the response with `head` and what a process writes, for this client alone. Raises as `start` does."""
        return self._send(Output(self.patiently(start), head), kind, "alone")

    def patiently(self, start: Callable[[], T]) -> T:
        """Return what `start` does, as soon as its client may have a process. Raises ShareTaken, and as `start`."""
        return self.here.processes.patiently(self.who, start)

    def shared(self, made: IO[bytes] | Reader, kind: str) -> Response:
        """Return the response with an answer that others may get too."""
        if isinstance(made, Reader):
            return self._send(made, kind, "made")
        size = os.fstat(made.fileno()).st_size
        file = _File(made, self._when_sent("kept"), size)
        response = Response(wrap_file(request.environ, file), direct_passthrough=True)  # type: ignore[arg-type]
        response.content_length = size
        return _typed(response, kind)

    def sends(self, source: Source, kind: str, how: str) -> Response:
        """Return the response with what a source yields; `how` is what it is counted as."""
        return self._send(source, kind, how)

    def _send(self, source: Source, kind: str, how: str) -> Response:
        self._running.reads(source)
        return answer(Sent(source, self._when_sent(how)), kind)

    def _when_sent(self, how: str) -> Callable[[int], None]:
        """Have the request end with its response; the result is to be called then, with the bytes that were sent."""
        self._is_handed_on, until_sent = True, self._until_sent
        what, path = request.endpoint, request.path[:300]
        fields = {"principal": self.who.principal} if self.who.is_known else {}
        id_ = g.get("request_id")

        def ended(sent: int) -> None:
            until_sent.close()
            COUNTS.add(GIT_ANSWERS, how)
            COUNTS.add(GIT_BYTES, how, count=sent)
            seconds = round(time.monotonic() - self._began, 3)
            log.info("git_sent", request=id_, what=what, path=path, bytes=sent, how=how, seconds=seconds, **fields)

        return ended


class _File:
    """A kept answer as a server sends it; `ended` is called when it is closed."""

    def __init__(self, file: IO[bytes], ended: Callable[[int], None], size: int) -> None:
        self._file = file
        self._ended = ended
        self._size = size
        self.fileno = file.fileno
        self.read = file.read

    def close(self) -> None:
        """Close it."""
        if not self._file.closed:
            self._file.close()
            self._ended(self._size)


def _nothing() -> None:
    pass
