"""The process that serves the gateway: `gunicorn -k app.gateway.serving.GatewayWorker`.

Threads, and not greenlets as for the API: what a gateway does is to hand bytes on, of which gevent does half as many.
An answer leaves at once (TCP_NODELAY), since Git waits for each.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import TConn, ThreadWorker
from redis.exceptions import RedisError

from app.listening import CHOSEN, strangers_at
from storage.backends.redis_client import UNAVAILABLE
from storage.base.errors import Unavailable
from storage.base.settings import Settings

_PART = 1 << 20  # bytes of a file that are sent at once
_SMALL = 64 << 10  # bytes of a body that are sent in one piece with its head
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
        self._head = b""  # of an answer, while it is kept for what follows it
        self._keeps_head = False
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
        seconds = max(self.limits.body_timeout, self.limits.send_timeout) if flag else 0.0
        if self.gettimeout() != seconds:  # gunicorn says it again and again
            self.settimeout(seconds)

    def is_asked_within(self, seconds: float) -> bool:
        """Tell whether something comes, or the end of it all, within so many seconds."""
        return self._is_ready(select.POLLIN, seconds)

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

    def keep_head(self) -> None:
        """Keep the next that is sent, the head of an answer, until more is sent or `flush` is called.

        gunicorn sends head and body one after the other, which costs this process and the client's a call each.
        """
        self._keeps_head = True

    def flush(self) -> None:
        """Send what is kept. Raises as `sendall` does."""
        self._keeps_head = False
        if self._head and self.fileno() >= 0:
            self.sendall(b"")

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send. Raises ConnectionResetError where the client is too slow."""
        if self._keeps_head:
            self._keeps_head, self._head = False, bytes(data)
            return
        if self._head:
            head, self._head = self._head, b""
            if len(data) <= _SMALL:
                data = head + data
            else:
                self.sendall(head, socket.MSG_MORE)
        try:
            super().sendall(data, flags)
        except TimeoutError:
            raise _too_slow() from None

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a part of a file. Raises ConnectionResetError where the client is too slow."""
        assert count is not None
        if self._head:
            self.sendall(b"", socket.MSG_MORE)
        at, end = offset, offset + count
        began, start = time.monotonic(), at
        while at < end:
            at += self._send_part(file.fileno(), at, min(_PART, end - at))
            waited = time.monotonic() - began
            if waited > self.limits.send_timeout:
                if at - start < self.limits.min_rate * waited:
                    raise _too_slow()
                began, start = time.monotonic(), at
        return count

    def _send_part(self, file: int, offset: int, count: int) -> int:
        """Send so many bytes of a file, or a part of them where the client has to be waited for; return how many.

        `socket.sendfile` makes a selector for each call.
        """
        while True:
            try:
                sent = os.sendfile(self.fileno(), file, offset, count)
            except BlockingIOError:
                if not self._is_ready(select.POLLOUT, self.gettimeout() or 0.0):
                    raise _too_slow() from None
                continue
            if not sent:
                raise _too_slow()  # the file was cut
            return sent

    def _is_ready(self, event: int, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self, event)
        return bool(poll.poll(seconds * 1000))


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
        """Load the application; the head of an answer is sent with what follows it."""
        self._load_when_possible()
        application = self.wsgi
        self._services = application.extensions["sluice"]
        self._stay_at_home()

        def serve(environ: Any, start_response: Callable[..., Any]) -> Any:
            def start(*args: Any) -> Any:
                environ["gunicorn.socket"].keep_head()
                return start_response(*args)

            return application(environ, start)

        self.wsgi = serve

    def _stay_at_home(self) -> None:
        """End the server where anybody may do everything, and others than this machine could ask."""
        try:
            strangers = strangers_at(self.sockets) if self._services.access.is_open else []
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
        while self.alive and self.is_parent_alive():
            try:
                super().load_wsgi()
                return
            except (Unavailable, RedisError) as error:
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
        if not getattr(conn, "data_ready", True) and conn.sock.is_asked_within(_LINGER):
            conn.data_ready = True  # else gunicorn waits, by a selector that it makes for that
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
        try:
            return super().handle_request(req, conn)
        finally:
            conn.sock.flush()

    def run(self) -> None:
        """Serve until asked to stop, and all is sent or `graceful_timeout` over."""
        super().run()
        self._services.stop()
