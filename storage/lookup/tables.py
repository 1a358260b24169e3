"""Tables: rows of a 20-byte key and a 30-byte value, sorted, in one object of the bucket that is read by range. Pure.

They index history that has left the view. Keys are hashes, so they are evenly distributed. After a header there is, for
each prefix of leading bits, the number of rows up to its end (as in Git's pack index): a look-up is one short range.

Compactions make tables of level 0. Four of one level are merged into one of the next, so a look-up reads a few tables
of each level, and the number of levels is logarithmic in history (a log-structured merge tree: O'Neil et al., 1996). A
table that would have more than MAX_ROWS is split into four by two more bits of the key, and from then on merged only
with those of the same prefix. So no table and no merge grows with history; there is about one table per MAX_ROWS rows.
"""

import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from itertools import accumulate

from storage.base.errors import Corrupt
from storage.log.entry import TableRow

KEY_BYTES = 20
VALUE_BYTES = 30
ROW_BYTES = KEY_BYTES + VALUE_BYTES
CUT_BITS = 2
MERGED = 4
"""So many tables of one level and prefix are merged."""

MAX_ROWS = 1 << 16
"""A table with more rows is cut."""

_HEADER = struct.Struct(">8sIBB2x")
_MAGIC = b"SLTABLE1"
_TRAILER_BYTES = 20
_RUN_ROWS = 128  # that share the leading bits which the header counts, about
_MAX_BITS = 13
_PART_BITS = 6  # rows are merged in so many parts, as a power of two
HEAD_BYTES = _HEADER.size + (4 << _MAX_BITS)
"""So many bytes at the beginning of a table have all of its header, whatever its size."""


class CorruptTable(Corrupt):
    """Bytes are no table, or a damaged one."""


def prefix_of(key: bytes, bits: int) -> int:
    """Return the leading bits of a key."""
    return int.from_bytes(key[:8], "big") >> (64 - bits)


def oldest_first(tables: Iterable[TableRow]) -> list[TableRow]:
    """Return tables in the order in which later ones count where several have a row of one key."""
    return sorted(tables, key=lambda table: (-table.level, table.name))


def encode(rows: Mapping[bytes, bytes]) -> bytes:
    """Return the table of these rows. Values that are shorter are filled up with zeros."""
    return encode_part(b"".join([key + rows[key].ljust(VALUE_BYTES, b"\0") for key in sorted(rows)]), 0)


def encode_part(body: bytes | bytearray, common: int) -> bytes:
    """Return the table of rows in order, as they are stored, whose keys have so many leading bits in common."""
    rows = len(body) // ROW_BYTES
    bits = max(0, min(_MAX_BITS, (rows // _RUN_ROWS).bit_length()))
    shift, mask = 64 - common - bits, (1 << bits) - 1
    counts = [0] * (1 << bits)
    for at in range(0, len(body), ROW_BYTES):
        counts[(int.from_bytes(body[at : at + 8], "big") >> shift) & mask] += 1
    ends = struct.pack(f">{1 << bits}I", *accumulate(counts))
    data = b"".join([_HEADER.pack(_MAGIC, rows, common, bits), ends, body])
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
    """Return the header of a table from its first HEAD_BYTES bytes, or all of it. Raises CorruptTable."""
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
    """Yield the rows of a whole table. Raises CorruptTable."""
    body = _body(data)
    for at in range(0, len(body), ROW_BYTES):
        yield bytes(body[at : at + KEY_BYTES]), bytes(body[at + KEY_BYTES : at + ROW_BYTES])


def _body(data: bytes) -> memoryview:
    """Return the rows of a whole table as they are stored."""
    head = head_of(data)
    start = _HEADER.size + 4 * len(head.ends)
    end = start + head.rows * ROW_BYTES
    if len(data) != end + _TRAILER_BYTES or sha1(data[:end]).digest() != data[end:]:
        raise CorruptTable("a table is cut short or damaged")
    return memoryview(data)[start:end]


def due(tables: Iterable[TableRow]) -> list[TableRow] | None:
    """Return tables that should be merged, of the lowest level first, oldest first; None where none are due."""
    groups: dict[tuple[int, int, int], list[TableRow]] = {}
    for table in tables:
        groups.setdefault((table.level, table.bits, table.prefix), []).append(table)
    full = [group for _, group in sorted(groups.items()) if len(group) >= MERGED]
    return sorted(full[0])[:MERGED] if full else None


def merged(tables: Sequence[tuple[TableRow, bytes]]) -> list[tuple[int, int, bytes]]:
    """Merge whole tables of one level and prefix, oldest first; return those of the next level: bits, prefix, bytes.

    Of rows with one key the newest stays. Part after part of the keys, so that few rows are objects at any time. Raises
    CorruptTable.
    """
    bits, prefix = tables[0][0].bits, tables[0][0].prefix
    bodies = [_body(data) for _, data in tables]
    starts = [0] * len(bodies)
    parts: list[bytearray] = []
    for number in range(1 << _PART_BITS):
        after = ((prefix << _PART_BITS) + number + 1) << (64 - bits - _PART_BITS)
        ends = [_position(body, after) for body in bodies]
        parts.append(_merge([body[start:end] for body, start, end in zip(bodies, starts, ends, strict=True)]))
        starts = ends
    if sum(map(len, parts)) <= MAX_ROWS * ROW_BYTES:
        return [(bits, prefix, encode_part(bytearray().join(parts), bits))]
    cut, step = bits + CUT_BITS, 1 << (_PART_BITS - CUT_BITS)
    whole = [bytearray().join(parts[start : start + step]) for start in range(0, len(parts), step)]
    return [(cut, (prefix << CUT_BITS) + i, encode_part(body, cut)) for i, body in enumerate(whole) if body]


def _position(body: memoryview, bound: int) -> int:
    """Return where the first row stands whose leading 64 bits are `bound` or more."""
    low, high = 0, len(body) // ROW_BYTES
    while low < high:
        middle = (low + high) // 2
        if int.from_bytes(body[middle * ROW_BYTES : middle * ROW_BYTES + 8], "big") < bound:
            low = middle + 1
        else:
            high = middle
    return low * ROW_BYTES


def _merge(runs: Sequence[memoryview]) -> bytearray:
    """Return the rows of runs in order; of those with one key that of the last run."""
    rows: dict[bytes, memoryview] = {}
    for run in runs:
        for at in range(0, len(run), ROW_BYTES):
            rows[bytes(run[at : at + KEY_BYTES])] = run[at : at + ROW_BYTES]
    return bytearray().join([rows[key] for key in sorted(rows)])
