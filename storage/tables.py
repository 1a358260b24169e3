"""Tables: rows of a 20-byte key and a 30-byte value, sorted, in one object of the bucket that is read by range. Pure.

What the view has forgotten is found in tables. Keys are hashes, so they are spread evenly: behind a header stands, for
each run of leading bits, how many rows stand up to its end (as in Git's pack index); one look-up is one short range.

Compactions make tables of level 0. Four of one level are merged into one of the next, so a look-up asks a few of each
level, of which there are as many as the logarithm of history (a log-structured merge tree: O'Neil et al., 1996). One
that would have more than MOST_ROWS is cut into four by two more bits of the key, and from there on merged with those
of the same prefix: no table and no merge grows with history, and there are about as many tables as rows by MOST_ROWS.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from itertools import accumulate, groupby
from operator import itemgetter
from typing import NamedTuple

KEY_BYTES = 20
VALUE_BYTES = 30
ROW_BYTES = KEY_BYTES + VALUE_BYTES
CUT_BITS = 2
MERGED = 4
"""So many tables of one level and prefix are merged."""

MOST_ROWS = 1 << 18
"""A table with more rows is cut."""

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
    level: int  # how often it has been merged
    bits: int  # so many leading bits all of its keys have in common
    prefix: int  # these bits

    def has(self, key: bytes) -> bool:
        """Tell whether a key would stand in this table."""
        return prefix_of(key, self.bits) == self.prefix


def prefix_of(key: bytes, bits: int) -> int:
    """Return the leading bits of a key."""
    return int.from_bytes(key[:8], "big") >> (64 - bits)


def oldest_first(tables: Iterable[TableRow]) -> list[TableRow]:
    """Return tables in the order in which later ones count where several have a row of one key."""
    return sorted(tables, key=lambda table: (-table.level, table.name))


def encode(rows: Mapping[bytes, bytes]) -> bytes:
    """Return the table of these rows. Values that are shorter are filled up with zeros."""
    return _encode([key + rows[key].ljust(VALUE_BYTES, b"\0") for key in sorted(rows)], 0)


def _encode(rows: Sequence[bytes], common: int) -> bytes:
    """Return the table of rows in order, whose keys have so many leading bits in common."""
    bits = max(0, min(_MOST_BITS, (len(rows) // _RUN_ROWS).bit_length()))
    shift, mask = 64 - common - bits, (1 << bits) - 1
    counts = [0] * (1 << bits)
    for row in rows:
        counts[(int.from_bytes(row[:8], "big") >> shift) & mask] += 1
    ends = struct.pack(f">{1 << bits}I", *accumulate(counts))
    data = b"".join([_HEADER.pack(_MAGIC, len(rows), common, bits), ends, *rows])
    return data + sha1(data).digest()


@dataclass(frozen=True, slots=True)
class Head:
    """The header of a table: where its rows stand."""

    rows: int
    common: int  # leading bits that all keys share
    bits: int  # that tell runs apart
    ends: Sequence[int]  # how many rows stand up to the end of each run

    def span(self, key: bytes) -> tuple[int, int]:
        """Return the offset and the length of the rows among which a key would stand."""
        run = (int.from_bytes(key[:8], "big") >> (64 - self.common - self.bits)) & ((1 << self.bits) - 1)
        first, end = self.ends[run - 1] if run else 0, self.ends[run]
        return _HEADER.size + 4 * len(self.ends) + first * ROW_BYTES, (end - first) * ROW_BYTES


def head_of(data: bytes) -> Head:
    """Return the header of a table from its first HEAD_BYTES bytes, or all of it.

    Raises CorruptTable.
    """
    try:
        magic, rows, common, bits = _HEADER.unpack_from(data)
        ends = array("I", struct.unpack_from(f">{1 << bits}I", data, _HEADER.size))
    except struct.error as error:
        raise CorruptTable("a table's header is damaged") from error
    if magic != _MAGIC or len(ends) != 1 << bits or ends[-1] != rows:
        raise CorruptTable("not a table, or of a format that this version does not know")
    return Head(rows, common, bits, ends)


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
    return ((row[:KEY_BYTES], row[KEY_BYTES:]) for row in _rows(data))


def _rows(data: bytes) -> list[bytes]:
    head = head_of(data)
    start = _HEADER.size + 4 * len(head.ends)
    end = start + head.rows * ROW_BYTES
    if len(data) != end + _TRAILER_BYTES or sha1(data[:end]).digest() != data[end:]:
        raise CorruptTable("a table is cut short or damaged")
    return [data[at : at + ROW_BYTES] for at in range(start, end, ROW_BYTES)]


def due(tables: Iterable[TableRow]) -> list[TableRow] | None:
    """Return tables that should be merged, of the lowest level first, oldest first; None where none are due."""
    groups: dict[tuple[int, int, int], list[TableRow]] = {}
    for table in tables:
        groups.setdefault((table.level, table.bits, table.prefix), []).append(table)
    full = [group for _, group in sorted(groups.items()) if len(group) >= MERGED]
    return sorted(full[0])[:MERGED] if full else None


def merged(tables: Sequence[tuple[TableRow, bytes]]) -> list[tuple[int, int, bytes]]:
    """Merge whole tables of one level and prefix, oldest first; return those of the next level: bits, prefix, bytes.

    Of rows with one key the newest stays. Raises CorruptTable.
    """
    first = tables[0][0]
    # Sorting is stable and takes runs that are in order as they are, so the last of equal keys is the newest.
    rows = [row for _, data in tables for row in _rows(data)]
    rows.sort(key=itemgetter(slice(0, KEY_BYTES)))
    rows = [list(same)[-1] for _, same in groupby(rows, key=itemgetter(slice(0, KEY_BYTES)))]
    if len(rows) <= MOST_ROWS:
        return [(first.bits, first.prefix, _encode(rows, first.bits))]
    bits = first.bits + CUT_BITS
    parts = groupby(rows, key=lambda row: prefix_of(row, bits))
    return [(bits, prefix, _encode(list(part), bits)) for prefix, part in parts]
