"""A process that clients reach: it accepts from a socket that outlives it, so that another one can take its place."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace

from app.stack.health import answers
from app.stack.processes import Command, ProcessFailed
from app.stack.servers import reason_of

# Connections that wait until a process accepts them.
_BACKLOG = 2048


class Front:
    """The clients' socket, and one of the present process, by which that can be asked alone whether it is ready."""

    def __init__(self, what: str, host: str, port: int, argv: Callable[..., list[str]]) -> None:
        """Listen; `argv` makes a command line of the addresses. Raises ProcessFailed."""
        self._argv = argv
        self._listener = _listen(what, host, port)
        self._own: socket.socket | None = None

    def close(self) -> None:
        """Listen no more: whoever connects from now on is refused, instead of waiting for nobody."""
        for listener in (self._listener, self._own):
            if listener:
                listener.close()

    def command(self, make: Callable[[list[str], Callable[[], bool]], Command]) -> Command:
        """Return the command of a new process; `make` makes one of a command line and a test of readiness."""
        own = self._own = _listen("a process", "127.0.0.1", 0)
        port = own.getsockname()[1]
        descriptors = self._listener.fileno(), own.fileno()
        made = make(
            self._argv(*(f"fd://{descriptor}" for descriptor in descriptors)),
            lambda: answers(f"http://127.0.0.1:{port}/readyz"),
        )
        return replace(made, descriptors=descriptors)

    def replace(self, make: Callable[[], Command], start: Callable[[Command], None]) -> None:
        """Have `start` put a new process in the place of the present one. Raises what it raises."""
        old = self._own
        new = make()
        try:
            start(new)
        except BaseException:
            # The old process goes on, and may have to be started again.
            self._own, old = old, self._own
            raise
        finally:
            if old:
                old.close()


def _listen(what: str, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as reason:
        raise ProcessFailed(f"{what} cannot listen on {host}:{port}: {reason_of(reason)}") from reason
