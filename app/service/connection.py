"""The socket of one client that gunicorn gets: every wait on it has a deadline.

gunicorn's gevent worker limits only the time between two requests. Here each stage has a deadline: the head of a
request has to arrive within `header_timeout`; a body, and an answer, have to make progress within every `body_timeout`
and `send_timeout`. Only the time in which this process waits for the client counts against the client.

This module is imported before gevent has patched anything: it must not import any module of Sluice.
"""

import errno
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import gevent
from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.errors import InvalidRequestLine, LimitRequestHeaders, LimitRequestLine, ParseException

from storage.base.errors import Refused, Unavailable

# Bytes that are moved at once; and seconds after which others are let run, where none of it had to be waited for.
_PIECE = 256 << 10
_TURN = 0.01
_SMALL = 64 << 10  # bytes of a body that are sent in one piece with its head
# What a client still sends is taken for so long before its connection is closed: a reset would destroy its answer.
_LINGER = 3.0


class TooSlow(Refused):
    """The client let a deadline pass; the text names its setting."""


class _ReadingEnded(Unavailable):
    """Another greenlet has ended the reading of a request."""


class BrokenBody(Refused):
    """The body of a request cannot be read: its framing is wrong."""


class Limits(NamedTuple):
    """The limits for one client; times are in seconds."""

    idle: float  # between an answer and the next request
    head: float
    head_bytes: int
    body: float
    send: float
    rate: int  # bytes a second


class Pace:
    """Demands that `rate` is kept, on average over each span of so many seconds of waiting."""

    def __init__(self, setting: str, seconds: float, rate: int) -> None:
        self._setting = setting
        self._seconds = seconds
        self._least = max(1.0, seconds * rate)
        self._waited = 0.0
        self._moved = 0

    @property
    def left(self) -> float:
        """How long the next wait may be."""
        return max(0.001, self._seconds - self._waited)

    def step(self, waited: float, moved: int) -> None:
        """Count a wait and what moved at its end. Raises TooSlow."""
        self._waited += waited
        self._moved += moved
        if self._moved < self._least and self._waited >= self._seconds:
            raise TooSlow(self._setting)
        if self._moved >= self._least:
            self._waited, self._moved = 0.0, 0


class Connection:
    """A client's socket. What is not here is the socket's own."""

    def __init__(self, sock: Any, limits: Limits) -> None:
        self._sock = sock
        self._limits = limits
        self._turn_ends = 0.0
        self._body: Pace | None = None
        self._unread = False
        self._stopped = False
        self._by_reset = False
        self._head: bytes | None = None  # of the answer, while it is kept for what follows it
        self._keeps_head = False
        self.begin_head(limits.head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def begin_head(self, timeout: float | None = None) -> None:
        """Expect a request, whose first byte comes within `timeout` seconds (by default, those of an idle one)."""
        self._body = None
        self._head_bytes = 0
        self._line_ended = False
        self._until = time.monotonic() + (self._limits.idle if timeout is None else timeout)

    def begin_body(self) -> None:
        """Expect the body of the request whose head has been read."""
        self._body = Pace("body_timeout", self._limits.body, self._limits.rate)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return what has arrived, or wait for it. Raises TooSlow, and gunicorn's exceptions for a wrong head."""
        if flags:
            return bytes(self._sock.recv(size, flags))
        return self._recv_head(size) if self._body is None else self._recv_body(size, self._body)

    def _recv_head(self, size: int) -> bytes:
        if self._head_bytes >= self._limits.head_bytes:
            if self._line_ended:
                raise LimitRequestHeaders("the head is larger than max_head_bytes")
            raise LimitRequestLine(self._head_bytes, self._limits.head_bytes)
        self._sock.settimeout(max(0.001, self._until - time.monotonic()))
        try:
            data = bytes(self._sock.recv(size))
        except TimeoutError:
            if self._head_bytes:
                raise TooSlow("header_timeout") from None
            return b""  # nobody asked anything: as if the client had closed it
        if not self._head_bytes and data:
            self._until = time.monotonic() + self._limits.head
            if data[0] not in b"\r\n" and not 0x21 <= data[0] <= 0x7E:
                raise InvalidRequestLine("not HTTP")  # TLS, for one, has no line ends to wait for
        self._head_bytes += len(data)
        self._line_ended = self._line_ended or b"\n" in data
        return data

    def _recv_body(self, size: int, pace: Pace) -> bytes:
        while not self._stopped:
            self._sock.settimeout(pace.left)
            began = time.monotonic()
            try:
                data = bytes(self._sock.recv(size))
            except TimeoutError:
                pace.step(time.monotonic() - began, 0)
                continue
            except _ReadingEnded:
                break
            pace.step(time.monotonic() - began, len(data))
            self._take_turns(began)
            return data
        return b""  # as if the client had closed it

    def keep_head(self) -> None:
        """Keep the next that is sent, the head of an answer, until more is sent or `flush` is called.

        gunicorn sends head and body one after the other, which costs this process and the client's a call each.
        """
        self._keeps_head = True

    def flush(self) -> None:
        """Send what is kept. Raises as `sendall` does."""
        self._keeps_head = False
        if self._head is not None:
            self.sendall(b"")

    def sendall(self, data: Any) -> None:
        """Send it all. Raises BrokenPipeError where the client takes it too slowly, as if it had gone."""
        if self._keeps_head:
            self._keeps_head, self._head = False, bytes(data)
            return
        if self._head is not None:
            # One buffer of both, but no copy of a large body.
            head, self._head = self._head, None
            if len(data) <= _SMALL:
                data = head + data
            else:
                self.sendall(head)
        view, pace = memoryview(data).cast("B"), Pace("send_timeout", self._limits.send, self._limits.rate)
        while view:
            self._sock.settimeout(pace.left)
            began, sent = time.monotonic(), 0
            with suppress(TimeoutError):
                sent = self._sock.send(view[:_PIECE])
            try:
                pace.step(time.monotonic() - began, sent)
            except TooSlow:
                self._unread = False  # no use in waiting for such a client
                raise BrokenPipeError(errno.EPIPE, "the client is slower than send_timeout and min_rate") from None
            view = view[sent:]
            self._take_turns(began)

    def send(self, data: Any) -> int:
        """Send it all, as sendall does."""
        self.sendall(data)
        return len(data)

    def _take_turns(self, began: float) -> None:
        """Let others run, after a call that `began` then: a fast client would keep this loop running."""
        now = time.monotonic()
        if now - began > 0.001:
            self._turn_ends = now + _TURN  # it had to wait, and they did run
        elif now > self._turn_ends:
            # Not sleep(0), after which gevent goes on here up to 50 times before it looks who else has sent something.
            hub = gevent.get_hub()
            with hub.loop.timer(0) as at_once:
                hub.loop.update_now()
                hub.wait(at_once)
            self._turn_ends = time.monotonic() + _TURN

    def leave_unread(self) -> None:
        """Remember, for `close`, that the client may be sending data that will not be read."""
        self._unread = True

    def stop_reading(self) -> None:
        """End the reading of a request, from another greenlet; an answer can still be sent.

        Not by shutdown(2): a client that is sending would not hear of room any more, even when it is there, and would
        wait until the kernel ends the connection, a minute later, before it reads its answer.
        """
        self._stopped = True
        gevent.get_hub().cancel_wait(self._sock._read_event, _ReadingEnded())

    def end_by_reset(self, on: bool) -> None:
        """Have the connection end by a reset, whatever ends it, or not any more."""
        self._by_reset = on
        with suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", on, 0))

    def shutdown(self, how: int) -> None:
        """Shut it down as a socket is; not before a reset, which would come behind what ends an answer."""
        if not self._by_reset:
            self._sock.shutdown(how)

    def cut(self) -> None:
        """End the connection, from another greenlet."""
        self._unread = False
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it without a reset, so that the sent bytes arrive; a head that is kept has nothing to lead."""
        self._keeps_head, self._head = False, None
        if self._unread and not self._by_reset:
            with suppress(OSError):
                self._drain()
        self._sock.close()

    def _drain(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)
        until = time.monotonic() + _LINGER
        while (left := until - time.monotonic()) > 0:
            self._sock.settimeout(left)
            began = time.monotonic()
            if not self._sock.recv(_PIECE):
                return
            self._take_turns(began)


class Input:
    """A request's body as the application reads it (`wsgi.input`): its errors are TooSlow and BrokenBody."""

    def __init__(self, body: Body, length: int | None) -> None:
        self._body = body
        self._missing = length  # bytes that are still to come; None where only the end tells

    @property
    def ended(self) -> bool:
        """Whether it was read to its end, so that the next request begins there."""
        if self._body.failed:
            return False
        if self._missing is not None:
            return not self._missing  # gunicorn's LengthReader counts what was asked of it, not what came
        reader = self._body.reader
        return reader.parser is None if isinstance(reader, ChunkedReader) else not getattr(reader, "length", 0)

    def read(self, size: int | None = None) -> bytes:
        """Read at most `size` bytes. Raises TooSlow, BrokenBody, and OSError where the client is gone."""
        return self._checked(self._body.read, size)

    def readline(self, size: int | None = None) -> bytes:
        """Read a line, as `read` does."""
        return self._checked(self._body.readline, size)

    def readlines(self, _hint: int | None = None) -> list[bytes]:
        """Read all lines."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        """Yield all lines."""
        return iter(self.readline, b"")

    def _checked(self, read: Callable[[int | None], bytes], size: int | None) -> bytes:
        try:
            data = bytes(read(size))
        except ParseException as error:
            raise BrokenBody(str(error)) from None
        if self._missing is not None and size != 0:
            self._missing -= len(data)
            if not data and self._missing:
                self._body.failed = True
                raise BrokenBody("it ends before its Content-Length")
        return data
