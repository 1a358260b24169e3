"""The process that serves the API and stops without failing a request: `gunicorn -k app.serving.ApiWorker`.

When a gunicorn worker is asked to stop (by SIGTERM, or by a reload), it accepts no new connection and ends when the
last one is closed, or after `graceful_timeout`. This class does the rest: it ends long polls and event streams, which
would last for minutes; every answer has `Connection: close`; and an idle connection is kept for some seconds, since its
client may be about to send, and is then read to its end before it is closed.

Limits on what a client can send are here and in app/service/connection.py. Errors of HTTP itself are answered by
problem documents, like those of the application.

This module is imported before gevent has patched anything: of Sluice it may only import app/listening.py and
app/service/connection.py.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import gevent
from gunicorn.arbiter import Arbiter
from gunicorn.http import errors as http
from gunicorn.http.body import ChunkedReader
from gunicorn.workers.ggevent import GeventWorker

from app.listening import CHOSEN, strangers_at
from app.service.connection import Connection, Input, Limits, TooSlow

if TYPE_CHECKING:
    from app.protocol.problems import Problem
    from app.service.services import Services

# Seconds after which run() has closed the listening socket: who is sent away before could come back to this process.
_NOTICE = 1.2
# Seconds for which an idle connection is kept, from then on or from its last answer on.
_LINGER = 5.0
_POLL_INTERVAL = 0.2

# The statuses of what is wrong with a request; whatever else gunicorn's parser finds is a 400.
_STATUSES: dict[type[Exception], int] = {
    TooSlow: 408,
    http.LimitRequestLine: 414,
    http.ExpectationFailed: 417,
    http.LimitRequestHeaders: 431,
}
_OURS = (http.InvalidResponseHeader, http.InvalidResponseHeaderName)


class ApiWorker(GeventWorker):
    """Serves the application, and stops without cutting a connection in use."""

    wsgi: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clients: dict[Any, Connection] = {}  # by the greenlet that answers
        self._idle: dict[Connection, float] = {}  # those on which nobody asks, and since when
        for name, value in CHOSEN.items():
            if name in self.cfg.settings:  # older versions lack some
                self.cfg.set(name, value)

    def init_process(self) -> None:
        """Begin; computing threads yield to the serving thread after one millisecond instead of five."""
        sys.setswitchinterval(0.001)
        super().init_process()

    def load_wsgi(self) -> None:
        """Load the application; once the worker is stopping, its answers close their connections."""
        super().load_wsgi()
        application = self._application = self.wsgi
        self._limits = self._limits_of(self._services)
        self._stay_at_home()

        def serve(environ: Any, start_response: Callable[..., Any]) -> Any:
            body = environ["wsgi.input"] = Input(environ["wsgi.input"], _length(environ))
            # Nothing depends on how a client calls this host.
            environ.pop("HTTP_HOST", None)

            def start(*args: Any) -> Any:
                # Not when the request came: it may have been a long poll.
                if not self.alive or not body.ended:
                    start_response.__self__.force_close()  # type: ignore[attr-defined]  # gunicorn's response
                if not body.ended:
                    environ["gunicorn.socket"].leave_unread()
                environ["gunicorn.socket"].keep_head()
                return start_response(*args)

            return application(environ, start)

        self.wsgi = serve
        from storage.base.collector import collect_rarely  # behind gevent's patches

        collect_rarely()

    def _stay_at_home(self) -> None:
        """End the server where anybody may do everything, and others than this machine could ask."""
        from storage.backends.redis_client import UNAVAILABLE  # behind gevent's patches

        try:
            if not self._services.access.is_open:
                return
        except UNAVAILABLE:
            return  # there were tokens, or nobody knows: requests are answered 503 until somebody does
        strangers = strangers_at(self.sockets)
        if strangers:
            self.log.critical(
                "There are no tokens, so anybody may do everything: listening on %s is refused. Set"
                " SLUICE_ROOT_TOKEN_SHA256 to the hash of a token (`sluice token generate`), or listen on 127.0.0.1",
                ", ".join(strangers),
            )
            sys.exit(Arbiter.APP_LOAD_ERROR)
        self.log.warning("There are no tokens: whoever reaches this machine's loopback may do everything")

    def _limits_of(self, services: Services) -> Limits:
        chosen = services.settings
        return Limits(
            idle=self.cfg.keepalive,
            head=chosen.header_timeout,
            head_bytes=chosen.max_head_bytes,
            body=chosen.body_timeout,
            send=chosen.send_timeout,
            rate=chosen.min_rate,
        )

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection."""
        current = gevent.getcurrent()
        client.setblocking(1)
        self._clients[current] = bounded = Connection(client, self._limits)
        try:
            super().handle(listener, bounded, addr)
        finally:
            del self._clients[current]

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Wait for the next request of a connection, for as long as the connection may be idle."""
        client = self._clients[gevent.getcurrent()]
        self._idle[client] = time.monotonic()
        try:
            yield  # the connection has the deadlines
        finally:
            del self._idle[client]

    def handle_request(self, listener_name: Any, req: Any, sock: Connection, addr: Any) -> Any:
        """Answer one request."""
        sock.begin_body()
        if (_length(dict(req.headers)) or 0) > self._services.settings.max_body_bytes:
            req._expected_100_continue = False  # it is refused without having been sent
        if isinstance(req.body.reader, ChunkedReader):
            req.body.reader.limit_trailer_section = self._limits.head_bytes
        try:
            answered = super().handle_request(listener_name, req, sock, addr)
        finally:
            sock.flush()
        sock.begin_head()
        return answered

    def handle_error(self, req: Any, client: Connection, addr: Any, exc: BaseException) -> None:
        """Answer an error of HTTP, or one outside of the application, and close the connection."""
        from app.protocol.problems import respond  # behind gevent's patches
        from app.service.metrics import count_outside

        problem = self._problem_of(exc, addr)
        count_outside(problem.status, problem.slug)
        response = respond(problem)
        body = response.get_data()
        headers = {**response.headers, "Content-Length": str(len(body)), "Connection": "close"}
        lines = [f"HTTP/1.1 {problem.status} {problem.title}", *(f"{name}: {value}" for name, value in headers.items())]
        client.leave_unread()
        with suppress(OSError):
            client.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def _problem_of(self, error: BaseException, addr: Any) -> Problem:
        from app.protocol.problems import http_problem, internal
        from storage.base.ids import new_ulid

        if isinstance(error, (http.ParseException, TooSlow)) and not isinstance(error, _OURS):
            status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 400)
            detail = f"it takes too long ({error})" if status == 408 else str(error)
            self.log.info("Refused a request of %s: %s", addr[0] if addr else "", detail[:200])
            return http_problem(status, detail[:200])
        fault = new_ulid()
        self.log.error("Failed to answer a request (%s)", fault, exc_info=error)
        return internal(fault)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Start stopping."""
        if self.alive:
            gevent.spawn(self._leave)
        super().handle_exit(sig, frame)

    def run(self) -> None:
        """Serve until asked to stop, all requests are answered and all accepted changesets are queued."""
        super().run()
        until = time.monotonic() + self.cfg.graceful_timeout
        while self._services.intake.behind and time.monotonic() < until:
            self.notify()
            gevent.sleep(_POLL_INTERVAL)
        self._services.reporter.stop()
        from tasks import tracing  # behind gevent's patches

        tracing.stop()

    @property
    def _services(self) -> Services:
        return cast("Services", self._application.extensions["sluice"])

    def _leave(self) -> None:
        gevent.sleep(_NOTICE)
        self._services.leave()
        began = time.monotonic()
        while True:
            for client, since in list(self._idle.items()):
                if time.monotonic() - max(since, began) > _LINGER:
                    # It is read to its end: a request that has arrived is answered, and nothing means the end.
                    with suppress(OSError):  # its client was faster
                        client.shutdown(socket.SHUT_RD)
            gevent.sleep(_POLL_INTERVAL)


def _length(headers: dict[str, Any]) -> int | None:
    """Return a request's Content-Length, which the parser has checked to be a number."""
    length = headers.get("CONTENT_LENGTH", headers.get("CONTENT-LENGTH"))
    return None if length is None else int(length)
