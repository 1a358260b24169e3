"""The process that serves the API, which can be stopped without failing anybody: `gunicorn -k app.serving.ApiWorker`.

Told to stop (SIGTERM; a reload tells it too), a worker of gunicorn takes no new connection and ends when the last one
is gone, or after `graceful_timeout`. What that leaves to do is here: long polls and streams of events would last for
minutes, so they are ended in order; every answer says `Connection: close`; and a connection on which nobody asks is
kept for some seconds, since its client may be about to, and then read to its end before it is closed.

Imported before gevent has patched anything: nothing of Sluice may be imported here.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import gevent
from gunicorn.workers.ggevent import GeventWorker

if TYPE_CHECKING:
    from app.services import Services

# Seconds after which run() has closed the listening socket: who is sent away before could come back to this process.
_NOTICE = 1.2
# Seconds for which an idle connection is kept, from then on or from its last answer on.
_LINGER = 5.0
_LOOK_EVERY = 0.2


class ApiWorker(GeventWorker):
    """Serves the application, and leaves in order."""

    wsgi: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clients: dict[Any, socket.socket] = {}  # by the greenlet that answers
        self._idle: dict[socket.socket, float] = {}  # those on which nobody asks, and since when

    def load_wsgi(self) -> None:
        """Load the application, and have what it answers from a stop on close its connection."""
        super().load_wsgi()
        application = self._application = self.wsgi

        def serve(environ: Any, start_response: Callable[..., Any]) -> Any:
            def start(*args: Any) -> Any:
                # Not when the request came: it may have been a long poll.
                if not self.alive:
                    start_response.__self__.force_close()  # type: ignore[attr-defined]  # gunicorn's response
                return start_response(*args)

            return application(environ, start)

        self.wsgi = serve

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection."""
        current = gevent.getcurrent()
        self._clients[current] = client
        try:
            super().handle(listener, client, addr)
        finally:
            del self._clients[current]

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Wait for the next request of a connection, as long as it may be idle."""
        client = self._clients[gevent.getcurrent()]
        self._idle[client] = time.monotonic()
        try:
            with super().timeout_ctx():
                yield
        finally:
            del self._idle[client]

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop."""
        if self.alive:
            gevent.spawn(self._leave)
        super().handle_exit(sig, frame)

    def run(self) -> None:
        """Serve until told to stop and everybody was answered, and what was accepted is queued."""
        super().run()
        until = time.monotonic() + self.cfg.graceful_timeout
        while self._services.intake.behind and time.monotonic() < until:
            self.notify()
            gevent.sleep(_LOOK_EVERY)

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
            gevent.sleep(_LOOK_EVERY)
