"""Tables: rows of a 20-byte key and a 30-byte value, sorted, in one object of the bucket that is read by range. Pure.

What the view has forgotten is found in tables. Keys are hashes, so they are spread evenly: behind a header stands, for
each run of leading bits, how many rows stand up to its end (as in Git's pack index); one look-up is one short range.

A table has a level and a prefix: its keys begin with these 2 * level bits. Compactions make tables of level 0; a few
tables of one level and prefix are merged into as many of the next level as two more bits tell apart. So no table grows
with history, a merge is bounded, and a look-up asks a few tables of each level, of which there are as many as the
logarithm of history (a log-structured merge tree: O'Neil et al., 1996; here cut by key as well).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import NamedTuple

KEY_BYTES = 20
VALUE_BYTES = 30
ROW_BYTES = KEY_BYTES + VALUE_BYTES
FAN_BITS = 2
MERGED = 4
"""So many tables of one level and prefix are merged."""

_HEADER = struct.Struct(">8sIBB2x")
_MAGIC = b"SLTABLE1"
_TRAILER_BYTES = 20
_RUN_ROWS = 128  # that share the leading bits which the header counts, about
_MOST_BITS = 13
HEAD_BYTES = _HEADER.size + (4 << _MOST_BITS)
"""So many bytes at the beginning of a table have all of its header, whatever its size."""


class CorruptTable(Exception):
    """Bytes are no table, or a damaged one."""


class TableRow(NamedTuple):
    """A table as the log and the view name it."""

    name: str  # in the bucket, without the suffix
    level: int
    prefix: int  # the first 2 * level bits of its keys

    def has(self, key: bytes) -> bool:
        """Tell whether a key would stand in this table."""
        return prefix_of(key, self.level) == self.prefix


def prefix_of(key: bytes, level: int) -> int:
    """Return the bits of a key that a table of this level has in common."""
    return int.from_bytes(key[:8], "big") >> (64 - FAN_BITS * level)


def encode(rows: Mapping[bytes, bytes], level: int = 0) -> bytes:
    """Return the table of these rows. Values that are shorter are filled up with zeros."""
    keys = sorted(rows)
    bits = max(0, min(_MOST_BITS, (len(keys) // _RUN_ROWS).bit_length()))
    shift, mask = 64 - FAN_BITS * level - bits, (1 << bits) - 1
    runs = [(int.from_bytes(key[:8], "big") >> shift) & mask for key in keys]
    ends = struct.pack(f">{1 << bits}I", *(bisect_right(runs, run) for run in range(1 << bits)))
    body = b"".join([key + rows[key].ljust(VALUE_BYTES, b"\0") for key in keys])
    data = _HEADER.pack(_MAGIC, len(keys), level, bits) + ends + body
    return data + sha1(data).digest()


@dataclass(frozen=True, slots=True)
class Head:
    """The header of a table: where its rows stand."""

    rows: int
    level: int
    bits: int
    ends: Sequence[int]  # how many rows stand up to the end of each run

    def span(self, key: bytes) -> tuple[int, int]:
        """Return the offset and the length of the rows among which a key would stand."""
        run = (int.from_bytes(key[:8], "big") >> (64 - FAN_BITS * self.level - self.bits)) & ((1 << self.bits) - 1)
        first, end = self.ends[run - 1] if run else 0, self.ends[run]
        return _HEADER.size + 4 * len(self.ends) + first * ROW_BYTES, (end - first) * ROW_BYTES


def head_of(data: bytes) -> Head:
    """Return the header of a table from its first HEAD_BYTES bytes, or all of it.

    Raises CorruptTable.
    """
    try:
        magic, rows, level, bits = _HEADER.unpack_from(data)
        ends = struct.unpack_from(f">{1 << bits}I", data, _HEADER.size)
    except struct.error as error:
        raise CorruptTable("a table's header is damaged") from error
    if magic != _MAGIC or len(ends) != 1 << bits or ends[-1] != rows:
        raise CorruptTable("not a table, or of a format that this version does not know")
    return Head(rows, level, bits, ends)


def find(run: bytes, key: bytes) -> bytes | None:
    """Return the value of a key among the rows that `Head.span` tells, None where it is not there."""
    at = run.find(key)
    while at >= 0 and at % ROW_BYTES:
        at = run.find(key, at + 1)  # bytes of some row that happen to look like it
    return run[at + KEY_BYTES : at + ROW_BYTES] if at >= 0 else None


def rows_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of a whole table.

    Raises CorruptTable.
    """
    head = head_of(data)
    start = _HEADER.size + 4 * len(head.ends)
    end = start + head.rows * ROW_BYTES
    if len(data) != end + _TRAILER_BYTES or sha1(data[:end]).digest() != data[end:]:
        raise CorruptTable("a table is cut short or damaged")
    for at in range(start, end, ROW_BYTES):
        yield data[at : at + KEY_BYTES], data[at + KEY_BYTES : at + ROW_BYTES]


def due(tables: Iterable[TableRow]) -> list[TableRow] | None:
    """Return tables that should be merged, of the lowest level first, oldest first; None where none are due."""
    groups: dict[tuple[int, int], list[TableRow]] = {}
    for table in tables:
        groups.setdefault((table.level, table.prefix), []).append(table)
    full = [group for _, group in sorted(groups.items()) if len(group) >= MERGED]
    return sorted(full[0])[:MERGED] if full else None


def merged(tables: Sequence[tuple[TableRow, bytes]]) -> dict[int, bytes]:
    """Merge whole tables of one level and prefix, oldest first; return the tables of the next level by prefix.

    Of rows with one key the newest stays. Raises CorruptTable.
    """
    level = tables[0][0].level + 1
    parts: dict[int, dict[bytes, bytes]] = {}
    for _, data in tables:
        for key, value in rows_of(data):
            parts.setdefault(prefix_of(key, level), {})[key] = value
    return {prefix: encode(rows, level) for prefix, rows in sorted(parts.items())}
