"""The body of a request as a stream: inflated where its client has deflated it, and bounded in both forms."""

from __future__ import annotations

import tempfile
import zlib
from typing import IO, Protocol

from app.protocol.problems import Problem, http_problem, malformed

_PIECE = 64 << 10
_IN_MEMORY = 256 << 10
_GZIP = zlib.MAX_WBITS | 16


class Readable(Protocol):
    """What a server hands the application."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most so many bytes; none at the end."""


class Body:
    """Reads a request's body in pieces, inflated, and refuses one with more than `most` bytes."""

    def __init__(self, stream: Readable, encoding: str, most: int) -> None:
        """Begin; `encoding` is the Content-Encoding. Raises a Problem (415)."""
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise http_problem(415, "the body must be gzip, or not encoded")
        self._stream = stream
        self._inflater = zlib.decompressobj(_GZIP) if encoding.endswith("gzip") else None
        self._left = most
        self._most = most
        self._held = b""  # of the stream, and not inflated yet

    def read_piece(self) -> bytes:
        """Return the next bytes, none at the end. Raises a Problem (400, 413)."""
        piece = self._inflated() if self._inflater else self._stream.read(_PIECE)
        self._left -= len(piece)
        if self._left < 0:
            raise Problem(413, "too-large", "It is too large", f"the request has more than {self._most} bytes")
        return piece

    def spool(self) -> IO[bytes]:
        """Return the whole of it as a file, at its beginning; a small one is in memory. Raises as `read_piece`."""
        file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - the caller closes it
        try:
            while piece := self.read_piece():
                file.write(piece)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def _inflated(self) -> bytes:
        assert self._inflater
        while True:
            data = self._held or self._stream.read(_PIECE)
            if not data:
                if not self._inflater.eof:
                    raise malformed("the gzip body ends too early")
                return b""
            if self._inflater.eof:
                raise malformed("there is something behind the gzip body")
            try:
                piece = self._inflater.decompress(data, _PIECE)
            except zlib.error:
                raise malformed("the gzip body cannot be inflated") from None
            self._held = self._inflater.unconsumed_tail or self._inflater.unused_data
            if piece:
                return piece
