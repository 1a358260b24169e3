"""The process that serves the gateway: `gunicorn -k app.gateway.serving.GatewayWorker`.

Threads, and not greenlets as for the API: what a gateway does is to hand bytes on, of which gevent does half as many.
An answer leaves at once (TCP_NODELAY), since Git waits for each.
"""

from __future__ import annotations

import errno
import select
import socket
import sys
import time
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import TConn, ThreadWorker

from app.listening import CHOSEN, strangers_at
from storage.backends.redis_client import UNAVAILABLE
from storage.base.settings import Settings

_PART = 1 << 20  # of a file, that is sent at once
_LINGER = 0.02
"""Seconds for which a thread waits for the next request of a connection: Git on a near machine has sent it by then."""

_AGAIN = 1.0
"""Seconds after which a worker that could not start tries again."""


class Patient(socket.socket):
    """A connection with a client that has to send and to read as fast as the settings say."""

    limits: Settings

    def __init__(self, other: socket.socket, limits: Settings) -> None:
        """Take over another socket, which is of no use behind that."""
        super().__init__(other.family, other.type, other.proto, other.detach())
        self.limits = limits
        self._waited = 0.0
        self._received = 0
        self._until: float | None = None

    def begin_head(self) -> None:
        """Give the head of the next request its time."""
        self._until = time.monotonic() + self.limits.header_timeout

    def begin_body(self) -> None:
        """Give its body its time: only that counts in which the client is waited for."""
        self._until = None
        self._waited, self._received = 0.0, 0

    def setblocking(self, flag: bool) -> None:
        """Block, each time no longer than a client may be silent."""
        self.settimeout(max(self.limits.body_timeout, self.limits.send_timeout) if flag else 0.0)

    def is_asked_within(self, seconds: float) -> bool:
        """Tell whether something comes, or the end of it all, within so many seconds."""
        poll = select.poll()
        poll.register(self, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def recv(self, *args: Any) -> bytes:
        """Receive. Raises ConnectionResetError where the client is too slow."""
        began = time.monotonic()
        try:
            data = super().recv(*args)
        except TimeoutError:
            raise _too_slow() from None
        now = time.monotonic()
        self._waited += now - began
        self._received += len(data)
        if self._until is not None and now > self._until:
            raise _too_slow()
        if self._waited > self.limits.body_timeout:
            if self._received < self.limits.min_rate * self._waited:
                raise _too_slow()
            self.begin_body()
        return data

    def sendall(self, *args: Any) -> None:
        """Send. Raises ConnectionResetError where the client is too slow."""
        try:
            super().sendall(*args)
        except TimeoutError:
            raise _too_slow() from None

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a part of a file. Raises ConnectionResetError where the client is too slow."""
        assert count is not None
        at, end = offset, offset + count
        while at < end:
            began = time.monotonic()
            try:
                sent = super().sendfile(file, at, min(_PART, end - at))
            except TimeoutError:
                raise _too_slow() from None
            if not sent:
                raise _too_slow()  # the file was cut
            waited = time.monotonic() - began
            if waited > self.limits.send_timeout and sent < self.limits.min_rate * waited:
                raise _too_slow()
            at += sent
        return count


def _too_slow() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "the client is too slow")


class GatewayWorker(ThreadWorker):
    """Serves the application; a stop waits for the answers that are being sent."""

    wsgi: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in CHOSEN.items():
            if name in self.cfg.settings:  # older versions lack some
                self.cfg.set(name, value)

    def load_wsgi(self) -> None:
        """Load the application; where anybody may do everything, only this machine may ask."""
        self._load_when_possible()
        services = self._services = self.wsgi.extensions["sluice"]
        try:
            strangers = strangers_at(self.sockets) if services.access.is_open else []
        except UNAVAILABLE:
            return  # there were tokens, or nobody knows: requests are answered 503 until somebody does
        if strangers:
            if self.age > 1:
                while self.alive:  # until the first worker, which says why, has ended them all
                    time.sleep(_LINGER)
                sys.exit(0)
            self.log.critical("There are no tokens, so anybody may read everything: listening on %s is refused. Set"
                              " SLUICE_ROOT_TOKEN_SHA256, or listen on 127.0.0.1", ", ".join(strangers))  # fmt: skip
            sys.exit(Arbiter.APP_LOAD_ERROR)

    def _load_when_possible(self) -> None:
        """Load the application; one that takes a dead worker's place waits until the stores answer.

        gunicorn ends all workers where one cannot start, and those that are there may have answers to send.
        """
        while self.alive:
            try:
                super().load_wsgi()
                return
            except UNAVAILABLE as error:
                if self.age <= self.cfg.workers:
                    raise
                self.log.warning("A worker cannot start yet: %s", error)
            self.notify()
            time.sleep(_AGAIN)
        sys.exit(0)

    def enqueue_req(self, conn: TConn) -> None:
        """Have a connection served by a thread."""
        if not isinstance(conn.sock, Patient):
            conn.sock = Patient(conn.sock, self._services.settings)
            conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().enqueue_req(conn)

    def handle(self, conn: TConn) -> Any:
        """Read the next request of a connection and answer it, and those that follow at once.

        Git sends the next one when it has read the answer: to hand the connection back, and to get it again, takes
        longer than that. Not while other connections may need the thread.
        """
        while True:
            conn.sock.begin_head()
            result = super().handle(conn)
            if result is not True or not self.alive or self.nr_conns > self.cfg.threads // 2:
                return result
            if conn.parser.unreader.buf.getvalue() or not conn.sock.is_asked_within(_LINGER):
                return result

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Answer a request whose head is there."""
        conn.sock.begin_body()
        return super().handle_request(req, conn)

    def run(self) -> None:
        """Serve until asked to stop, and all is sent or `graceful_timeout` over."""
        super().run()
        self._services.stop()
