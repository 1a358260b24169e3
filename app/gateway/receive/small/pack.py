"""A small pack, read and checked in memory: to start Git for it takes longer than all the rest of a push. Pure.

Only what is ordinary in every way is read here: one commit on another, files and folders with plain names. Whatever is
not, or is wrong, is left for Git to read, and to refuse in its own words; so nothing is accepted here that Git would
not accept (tests/compat/test_small_packs_oracle.py asks it).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from hashlib import sha1
from typing import NamedTuple

from storage.base.errors import Refused
from storage.base.ids import ObjectId
from storage.git.imported.deltas import REF_DELTA, patched, result_size
from storage.git.objects import CorruptObject, Kind, object_id
from storage.git.packs import HEADER_BYTES, TRAILER_BYTES

MOST_BYTES = 128 << 10
"""Bytes of a pack; of a larger one Git reads more in the time in which it starts."""
MOST_INFLATED = 2 << 20
"""Bytes of all objects of a pack together, as they are, with what deltas are made of."""
_MOST_OBJECTS = 256
_MOST_INSTRUCTIONS = 128 << 10
"""Bytes of all deltas of a pack together: each instruction may be two of them, and is carried out by Python."""
_MOST_MISSED = 8
"""Bases of deltas that the store is asked for and has not: for each of them libgit2 looks into all packs anew."""
_LEAST_INSTRUCTIONS = 4  # DELTA_SIZE_MIN in Git's delta.h
_OFS_DELTA = 6
_KINDS = {int(kind): kind for kind in (Kind.COMMIT, Kind.TREE, Kind.BLOB)}
_WINDOW = 16 << 10

_IDENT = rb"[^\0<>\n]+ <[^\0<>\n]*> (?:0|[1-9][0-9]{0,11}) [+-][0-9]{4}"
# A signature says nothing of what is in a commit; other headers may.
_SIGNATURE = rb"(?:gpgsig [^\0\n]*\n(?: [^\0\n]*\n)*)?"
_COMMIT = re.compile(
    rb"tree [0-9a-f]{40}\nparent [0-9a-f]{40}\nauthor %s\ncommitter %s\n(?:encoding [!-~]{1,100}\n)?%s\n[^\0]*"
    % (_IDENT, _IDENT, _SIGNATURE)
)


class Unusual(Refused):
    """A pack is not for this module."""


class Stored(NamedTuple):
    """An object."""

    kind: Kind
    data: bytes


ReadBase = Callable[[ObjectId], Stored | None]
"""Returns an object of the store of the slice; None for what it has not, and for what is too large for a small pack."""


def read_pack(pack: bytes, base: ReadBase) -> dict[ObjectId, Stored]:
    """Return the objects of a pack, whose deltas may be of objects of the store. Raises Unusual."""
    if len(pack) > MOST_BYTES or len(pack) < HEADER_BYTES + TRAILER_BYTES or pack[:8] != b"PACK\0\0\0\2":
        raise Unusual
    body = pack[:-TRAILER_BYTES]
    if sha1(body).digest() != pack[-TRAILER_BYTES:]:
        raise Unusual
    [count] = struct.unpack_from(">I", pack, 8)
    if count > _MOST_OBJECTS:
        raise Unusual
    return _Reading(body, count, base).objects


class _Entry(NamedTuple):
    """An object as it stands in a pack."""

    kind: Kind | None  # None: a delta
    data: bytes  # of a delta the instructions
    base: ObjectId | int | None  # of a delta: the id of what it is of, or where that stands in the pack


class _Reading:
    """Reads one pack."""

    def __init__(self, body: bytes, count: int, base: ReadBase) -> None:
        self._body = body
        self._at = HEADER_BYTES
        self._left = MOST_INFLATED
        self._instructions_left = _MOST_INSTRUCTIONS
        self._missed_left = _MOST_MISSED
        self._made: dict[int, Stored] = {}  # by where they stand
        self.objects: dict[ObjectId, Stored] = {}
        entries: dict[int, _Entry] = {}
        for _ in range(count):
            start = self._at
            entries[start] = self._entry(start)
        if self._at != len(body):
            raise Unusual
        waiting = {at: entry for at, entry in entries.items() if not self._resolve(at, entry)}
        # What a delta is of may stand behind it, in the pack or in the store.
        while waiting:
            rest = {at: entry for at, entry in waiting.items() if not self._resolve(at, entry)}
            if len(rest) == len(waiting):
                rest = {at: entry for at, entry in waiting.items() if not self._resolve(at, entry, base)}
                if len(rest) == len(waiting):
                    raise Unusual
            waiting = rest

    def _entry(self, start: int) -> _Entry:
        number, size = self._head()
        if number in _KINDS:
            return _Entry(_KINDS[number], self._inflate(size), None)
        if number == _OFS_DELTA:
            base: ObjectId | int = start - self._distance()
        elif number == REF_DELTA:
            base = ObjectId(self._body[self._at : self._at + 20])
            self._at += 20
        else:
            raise Unusual  # a tag, or nothing
        self._instructions_left -= size
        if size < _LEAST_INSTRUCTIONS or self._instructions_left < 0:
            raise Unusual
        return _Entry(None, self._inflate(size), base)

    def _byte(self) -> int:
        if self._at >= len(self._body):
            raise Unusual
        self._at += 1
        return self._body[self._at - 1]

    def _head(self) -> tuple[int, int]:
        """Return the number of an entry's type, and its size."""
        byte = self._byte()
        number, size, shift = (byte >> 4) & 7, byte & 15, 4
        while byte & 0x80:
            byte = self._byte()
            size |= (byte & 0x7F) << shift
            shift += 7
            if shift > 32:
                raise Unusual
        return number, size

    def _distance(self) -> int:
        """Return how far before its own beginning the base of a delta stands."""
        byte = self._byte()
        distance = byte & 0x7F
        while byte & 0x80:
            byte = self._byte()
            distance = ((distance + 1) << 7) | (byte & 0x7F)
            if distance > MOST_BYTES:
                raise Unusual
        return distance

    def _take(self, size: int) -> None:
        """Count bytes that are made of the pack."""
        self._left -= size
        if self._left < 0:
            raise Unusual

    def _inflate(self, size: int) -> bytes:
        self._take(size)
        inflate, data = zlib.decompressobj(), b""
        while not inflate.eof:
            window = self._body[self._at : self._at + _WINDOW]
            try:
                data += inflate.decompress(window, size + 1 - len(data))
            except zlib.error:
                raise Unusual from None
            if not window or len(data) > size or inflate.unconsumed_tail:
                raise Unusual
            self._at += len(window) - len(inflate.unused_data)
        if len(data) != size:
            raise Unusual
        return data

    def _resolve(self, at: int, entry: _Entry, stored: ReadBase | None = None) -> bool:
        """Make an object of an entry; False where it is a delta of what is not there yet."""
        if entry.kind is not None:
            self._keep(at, Stored(entry.kind, entry.data))
            return True
        if isinstance(entry.base, int):
            base = self._made.get(entry.base)
        else:
            assert entry.base is not None
            base = self.objects.get(entry.base)
            if base is None and stored:
                base = self._taken_from(stored, entry.base)
        if base is None:
            return False
        try:
            self._take(result_size(entry.data))
            self._keep(at, Stored(base.kind, patched(base.data, entry.data)))
        except CorruptObject:
            raise Unusual from None
        return True

    def _taken_from(self, stored: ReadBase, oid: ObjectId) -> Stored | None:
        base = stored(oid)
        if base is not None:
            self._take(len(base.data))
            return base
        self._missed_left -= 1
        if self._missed_left < 0:
            raise Unusual
        return None

    def _keep(self, at: int, made: Stored) -> None:
        oid = object_id(made.kind, made.data)
        if oid in self.objects or (made.kind == Kind.COMMIT and not _COMMIT.fullmatch(made.data)):
            raise Unusual
        self._made[at] = self.objects[oid] = made
