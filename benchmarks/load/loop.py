"""Many HTTP/1.1 connections in one thread: scripts send requests made beforehand, and get whole answers.

The load generator shares the machine with the server that it measures, and a thousand threads would take more of it
than the thousand requests. A script is a generator on a connection of its own: it yields the bytes of a request and is
resumed with the answer, or yields seconds and is resumed after them.
"""

from __future__ import annotations

import itertools
import selectors
import socket
import time
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

from benchmarks.client import Refused
from benchmarks.figures import Disproved

# The API closes connections that were idle for 30 seconds; a request must not meet that.
_IDLE = 15.0
_MOST = 1 << 18  # bytes that are read at once
_END = b"\r\n\r\n"
_READ, _BOTH = selectors.EVENT_READ, selectors.EVENT_READ | selectors.EVENT_WRITE
_CONNECT = 20.0


class Answer(NamedTuple):
    """One whole answer."""

    status: int
    retry_after: float  # seconds
    body: bytes


Script = Generator[bytes | float, Answer | None, None]


@dataclass(eq=False)
class _Connection:
    address: tuple[str, int]
    sock: socket.socket | None = None
    used: float = 0.0
    script: Script | None = None
    request: bytes = b""  # that is under way
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    writing: bool = False  # whether it is awaited that the socket takes more
    received: bytearray = field(default_factory=bytearray)
    whole: int = 0  # bytes of the answer, once its head has said so
    answer: tuple[int, float, int] = (0, 0.0, 0)  # status, Retry-After, where the body begins


class Loop:
    """Connections, and the scripts on them; used with `with`."""

    def __init__(self, host: str, port: int, connections: int) -> None:
        """Open the connections."""
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, _Connection]] = []
        self._order = itertools.count()
        self._free = [_Connection((host, port)) for _ in range(connections)]
        self._all = list(self._free)
        self._waiting: deque[Script] = deque()
        self._active = 0
        for connection in self._free:
            self._open(connection)

    def __enter__(self) -> Loop:
        """Nothing to do: it is open."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the connections."""
        for connection in self._all:
            self._close(connection)
        self._selector.close()

    def start(self, script: Script) -> None:
        """Run a script on a free connection, or as soon as one is free."""
        self._active += 1
        if not self._free:
            self._waiting.append(script)
            return
        connection = self._free.pop()
        connection.script = script
        self._resume(connection, None)

    def run(self, seconds: float) -> None:
        """Run until every script has ended. Raises Disproved after so many seconds, Refused, and what scripts raise."""
        deadline = time.perf_counter() + seconds
        while self._active:
            now = time.perf_counter()
            if now > deadline:
                raise Disproved(f"after {seconds:g} s {self._active} clients have no answer yet")
            while self._timers and self._timers[0][0] <= now:
                self._resume(heappop(self._timers)[2], None)
            until = min(self._timers[0][0], deadline) if self._timers else deadline
            for key, events in self._selector.select(max(0.0, until - time.perf_counter())) if self._active else ():
                if events & selectors.EVENT_WRITE:
                    self._write(key.data)
                if events & selectors.EVENT_READ:
                    self._read(key.data)

    # --- scripts ------------------------------------------------------------------------------------------------------

    def _resume(self, connection: _Connection, answer: Answer | None) -> None:
        assert connection.script
        try:
            wanted = connection.script.send(answer)
        except StopIteration:
            self._end(connection)
            return
        if isinstance(wanted, bytes):
            self._send(connection, wanted)
        else:
            heappush(self._timers, (time.perf_counter() + wanted, next(self._order), connection))

    def _end(self, connection: _Connection) -> None:
        self._active -= 1
        connection.script = None
        if not self._waiting:
            self._free.append(connection)
            return
        connection.script = self._waiting.popleft()
        self._resume(connection, None)

    # --- connections --------------------------------------------------------------------------------------------------

    def _open(self, connection: _Connection) -> None:
        self._close(connection)
        sock = connection.sock = socket.create_connection(connection.address, timeout=_CONNECT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self._selector.register(sock, _READ, connection)
        connection.used = time.perf_counter()

    def _close(self, connection: _Connection) -> None:
        if connection.sock:
            self._selector.unregister(connection.sock)
            connection.sock.close()
        connection.sock, connection.unsent, connection.writing, connection.whole = None, memoryview(b""), False, 0
        connection.received.clear()

    def _send(self, connection: _Connection, request: bytes) -> None:
        if connection.sock is None or time.perf_counter() - connection.used > _IDLE:
            self._open(connection)
        connection.request, connection.unsent = request, memoryview(request)
        self._write(connection)

    def _write(self, connection: _Connection) -> None:
        """Send what the socket takes; wait until it takes more only where something is left."""
        if connection.sock is None:  # closed by what came before in the same turn
            return
        try:
            connection.unsent = connection.unsent[connection.sock.send(connection.unsent) :]
        except BlockingIOError:
            pass
        except ConnectionError:
            self._lost(connection)
            return
        if connection.writing != bool(connection.unsent):
            connection.writing = bool(connection.unsent)
            self._selector.modify(connection.sock, _BOTH if connection.writing else _READ, connection)

    def _read(self, connection: _Connection) -> None:
        if connection.sock is None:
            return
        try:
            data = connection.sock.recv(_MOST)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._lost(connection)
            return
        received = connection.received
        received += data
        if not connection.whole and (end := received.find(_END)) >= 0:
            connection.answer, connection.whole = _parse(bytes(received[:end]))
        if not connection.whole or len(received) < connection.whole:
            return
        status, retry_after, start = connection.answer
        body = bytes(received[start : connection.whole])
        received.clear()
        connection.whole, connection.request, connection.used = 0, b"", time.perf_counter()
        self._resume(connection, Answer(status, retry_after, body))

    def _lost(self, connection: _Connection) -> None:
        """Go on where the server has closed a connection that nothing was asked on, or that can be asked again."""
        request = connection.request
        self._close(connection)
        if not request:
            return
        if not request.startswith(b"GET "):
            line = request.split(b"\r\n", 1)[0].decode()
            raise Refused(f"{line}: the connection was closed before the answer")
        self._send(connection, request)


def _parse(head: bytes) -> tuple[tuple[int, float, int], int]:
    """Return the status, Retry-After, and where the body begins; and the bytes of the whole. Raises Refused."""
    line, *fields = head.lower().split(b"\r\n")
    values = dict(field.partition(b":")[::2] for field in fields)
    if b"content-length" not in values:
        raise Refused(f"an answer without Content-Length: {head!r}")
    start = len(head) + len(_END)
    parsed = int(line.split()[1]), float(values.get(b"retry-after", 0)), start
    return parsed, start + int(values[b"content-length"])
