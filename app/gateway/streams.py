"""What is sent to one client, and its end when its client may not have it any more.

A thread looks at all running requests several times a second. It ends one whose token was revoked, or whose principal
may not read all its paths any more, by closing the connection under it: so it ends too while it waits for Git, or for
a client that reads nothing.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import structlog

from app.gateway.git_processes import GitProcess
from storage.backends.redis_client import UNAVAILABLE

log = structlog.get_logger()

EVERY = 0.2
"""Seconds between two looks at the rights of running requests; app/access asks for news twice a second itself."""
_PIECE = 256 << 10


class Source(Protocol):
    """Bytes that come in pieces."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield them."""

    def abort(self) -> None:
        """Have whoever iterates end, from another thread."""

    def close(self) -> None:
        """End it."""


class Output:
    """What a process writes, for one client alone."""

    def __init__(self, process: GitProcess, head: bytes = b"") -> None:
        """`head` goes before it. Returns when there is something to send: then the process has read its request."""
        self._process: GitProcess | None = process
        self._first = head + process.read(_PIECE)

    def __iter__(self) -> Iterator[bytes]:
        """Yield it as it comes."""
        piece = self._first
        while piece and self._process:
            yield piece
            piece = self._process.read(_PIECE)

    def abort(self) -> None:
        """End the process; whoever iterates finds the end of its output."""
        process = self._process
        if process:
            process.kill()

    def close(self) -> None:
        """End the process, if it has not ended."""
        process, self._process = self._process, None
        if process:
            process.kill()
            process.finish()


class Running:
    """A request that is being answered, as `Watch` knows it."""

    def __init__(self, may_go_on: Callable[[], bool], connection: socket.socket | None) -> None:
        self.may_go_on = may_go_on
        self._connection = connection
        self._source: Source | None = None
        self._lock = threading.Lock()
        self._over = self._is_cut = False

    def reads(self, source: Source) -> None:
        """Have the source end with it too."""
        with self._lock:
            self._source = source
            is_cut = self._is_cut
        if is_cut:
            source.abort()

    def cut(self) -> None:
        """Close the connection under whoever writes to it or reads from it, and end what is waited for."""
        with self._lock:
            if self._over:
                return
            self._is_cut, source = True, self._source
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)
        if source:
            source.abort()

    def end(self) -> None:
        """It was answered: the connection may be another request's by now."""
        with self._lock:
            self._over = True


class Watch:
    """Looks at the rights of running requests, by a thread."""

    def __init__(self) -> None:
        self._running: set[Running] = set()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rights", daemon=True)

    @property
    def count(self) -> int:
        """How many requests run."""
        return len(self._running)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End it; returns when it has ended."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()

    def enter(self, running: Running) -> None:
        """Look at a request until it leaves."""
        with self._changed:
            self._running.add(running)
            self._changed.notify_all()

    def leave(self, running: Running) -> None:
        """Look at it no more."""
        running.end()
        with self._changed:
            self._running.discard(running)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._running or self._stopping.is_set())
            # Not by the condition: each request that comes would wake this thread.
            if self._stopping.wait(EVERY):
                return
            with self._changed:
                now = list(self._running)
            for each in now:
                if not self._may_go_on(each):
                    log.info("request_cut")
                    each.cut()

    def _may_go_on(self, each: Running) -> bool:
        try:
            return each.may_go_on()
        except UNAVAILABLE:
            return True  # while it cannot be known: no new request is answered meanwhile
        except Exception:
            log.exception("rights_not_known")
            return False


class Sent:
    """The body of a response: a source, which ends with it, whatever ends it."""

    def __init__(self, source: Source, ended: Callable[[int], None]) -> None:
        """`ended` is called once, with the bytes that were sent."""
        self._source = source
        self._ended: Callable[[int], None] | None = ended
        self._sent = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield it."""
        for piece in self._source:
            self._sent += len(piece)
            yield piece

    def close(self) -> None:
        """End it."""
        self._source.close()
        ended, self._ended = self._ended, None
        if ended:
            ended(self._sent)
