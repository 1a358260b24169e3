"""One connection of HTTP/1.1, as a client that costs the machine little: it shares its processors with the servers.

`http.client` reads the headers of an answer as those of an e-mail, in Python.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from types import TracebackType

from benchmarks.figures import Disproved

_PIECE = 256 << 10
_HEAD = 4 << 10  # bytes that are read at once where a line is looked for
_PATIENCE = 120  # seconds
_MOST_HEADERS = 100
_END = 4


class NoAnswer(Exception):
    """The server sent something else than an answer, or ended in the middle of one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered; of a body that is not kept only how long it is and how it ends."""

    status: int
    size: int
    end: bytes  # its last four bytes
    body: bytes


def successful(answer: Answer) -> Answer:
    """Return an answer whose status is 200. Raises Disproved."""
    if answer.status != 200:
        raise Disproved(f"the answer is {answer.status}: {answer.body[:200]!r}")
    return answer


class Connection:
    """A connection; a `with` closes it."""

    def __init__(self, address: tuple[str, int]) -> None:
        """Connect. Raises OSError."""
        self._socket = socket.create_connection(address, timeout=_PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel's own time-outs: with one of Python's, each call is two, and none waits for all of its bytes.
        self._socket.settimeout(None)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", _PATIENCE, 0))
        self._room = memoryview(bytearray(_PIECE))
        self._received = b""  # and not used yet
        self._host = address[0].encode()

    def __enter__(self) -> Connection:
        """Return this."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self._socket.close()

    def ask(self, target: str, body: bytes | None = None, headers: bytes = b"", keeps: bool = False) -> Answer:
        """Send a request, a GET where it has no body, and read the answer; `headers` are lines with their ends.

        Raises NoAnswer and OSError.
        """
        method = b"GET" if body is None else b"POST"
        length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
        head = b"%s %s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n" % (method, target.encode(), self._host, length, headers)
        self._socket.sendall(head + (body or b""))
        status = self._line().split(None, 2)
        if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or not status[1].isdigit():
            raise NoAnswer(f"no answer begins with {status}")
        size, is_chunked = self._read_headers()
        taken = _Taken(keeps)
        if is_chunked:
            while chunk := self._size_of_chunk():
                self._read(chunk, taken)
                self._line()
            self._line()
        else:
            self._read(size, taken)
        return Answer(int(status[1]), taken.size, taken.end, b"".join(taken.pieces))

    def _read_headers(self) -> tuple[int, bool]:
        """Return the length of the body, and whether it comes in chunks."""
        size, is_chunked = 0, False
        for _ in range(_MOST_HEADERS):
            line = self._line()
            if line in (b"\r\n", b""):
                return size, is_chunked
            name, _, value = line.partition(b":")
            name = name.lower()
            if name == b"content-length":
                size = int(value)
            elif name == b"transfer-encoding":
                is_chunked = True
        raise NoAnswer("an answer has too many headers")

    def _size_of_chunk(self) -> int:
        try:
            return int(self._line().partition(b";")[0], 16)
        except ValueError:
            raise NoAnswer("an answer ended in the middle") from None

    def _line(self) -> bytes:
        """Return the next line with its end, or what there was before the connection ended."""
        while (end := self._received.find(b"\n") + 1) == 0 and len(self._received) < _PIECE:
            piece = self._socket.recv(_HEAD)
            if not piece:
                break
            self._received += piece
        line, self._received = (self._received[:end], self._received[end:]) if end else (self._received, b"")
        return line

    def _read(self, size: int, taken: _Taken) -> None:
        if first := self._received[:size]:
            self._received = self._received[len(first) :]
            size -= len(first)
            taken.take(first)
        while size:
            count = self._socket.recv_into(self._room, min(size, _PIECE), socket.MSG_WAITALL)
            if not count:
                raise NoAnswer("an answer ended in the middle")
            size -= count
            taken.take(self._room[:count])


class _Taken:
    """What of a body is remembered."""

    def __init__(self, keeps: bool) -> None:
        self._keeps = keeps
        self.pieces: list[bytes] = []
        self.size = 0
        self.end = b""

    def take(self, piece: bytes | memoryview) -> None:
        self.size += len(piece)
        self.end = (self.end + piece[-_END:])[-_END:]
        if self._keeps:
            self.pieces.append(bytes(piece))
