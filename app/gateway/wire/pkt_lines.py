"""Git's pkt-lines: a length of four hexadecimal digits that counts itself, and that many bytes. Pure.

Lengths below 4 are marks: 0000 ends a message, 0001 ends a part of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from storage.base.errors import Refused

FLUSH, DELIMITER = b"0000", b"0001"
LONGEST = 65_520


class NotPktLines(Refused):
    """The bytes are no pkt-lines."""


def pkt(data: bytes) -> bytes:
    """Return one line."""
    return b"%04x" % (len(data) + 4) + data


def lines_of(data: bytes) -> list[bytes | None]:
    """Return the lines of a message, without their line feeds; a delimiter is None, and a flush ends it.

    Raises NotPktLines, also where bytes follow the flush.
    """
    found: list[bytes | None] = []
    at = 0
    while at < len(data):
        length = _length(data, at)
        if length == 0:
            if at + 4 != len(data):
                raise NotPktLines("there is something behind the flush")
            return found
        if length == 1:
            found.append(None)
        elif at + length > len(data):
            raise NotPktLines(f"a wrong length at byte {at}")
        else:
            found.append(data[at + 4 : at + length].removesuffix(b"\n"))
        at += max(length, 4)
    raise NotPktLines("it has no end")


def beginning_of(data: bytes) -> Iterator[bytes | None]:
    """Yield the lines that a message begins with, as `lines_of` has them, as far as they are all there.

    Raises NotPktLines.
    """
    at = 0
    while at + 4 <= len(data) and (length := _length(data, at)):
        if at + length > len(data):
            return
        yield None if length == 1 else data[at + 4 : at + length].removesuffix(b"\n")
        at += max(length, 4)


def _length(data: bytes, at: int) -> int:
    try:
        length = int(data[at : at + 4], 16)
    except ValueError:
        raise NotPktLines(f"no length at byte {at}") from None
    if length not in (0, 1) and not 4 <= length <= LONGEST:
        raise NotPktLines(f"a wrong length at byte {at}")
    return length


def message(lines: Iterable[bytes]) -> bytes:
    """Return lines as one message, with its flush."""
    return b"".join(map(pkt, lines)) + FLUSH
