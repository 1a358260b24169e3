"""Git packfiles and their indexes: written as a whole, and read by range. Pure.

Formats: Git's Documentation/gitformat-pack.txt, pack version 2 and index version 2. Objects are stored undeltified, so
that one range of bytes is one object; only the packs of an import, which Git writes, have deltas (deltas.py).
"""

import struct
import zlib
from collections.abc import Iterator
from hashlib import sha1
from itertools import accumulate
from typing import NamedTuple

from isal import isal_zlib

from storage.base.errors import Refused
from storage.base.ids import ObjectId, PackId
from storage.git.objects import CorruptObject, Kind, object_id

HEADER_BYTES = 12
HEAD_BYTES = 10
"""The kind and the size of a stored object stand in so many bytes at its beginning, or in fewer."""
TRAILER_BYTES = 20
MAX_PACK_BYTES = (1 << 31) - 1
"""An index entry has 31 bits for an offset; larger ones need a table that is not written here."""
_WINDOW = 16 << 10
_SHRINKS = 4  # what deflating makes of texts, about
# Up to here zlib makes one stored block, too.
_STORED_BLOCK = 32 << 10
_LENGTHS, _CHECKSUM = struct.Struct("<HH"), struct.Struct(">I")


class PackRange(NamedTuple):
    """Where an object stands in a pack: its first byte, its stored bytes, and its size when known (else 0)."""

    offset: int
    length: int
    size: int


class Location(NamedTuple):
    """Where an object can be read: a pack and the range in it."""

    pack: PackId
    range: PackRange

    @property
    def weight(self) -> int:
        """About how many bytes reading it takes: those that are stored, or more where a delta makes much of few."""
        return max(self.range.length, self.range.size // _SHRINKS)


class PackTooLarge(Refused):
    """A pack would have more bytes than its index can address."""


class PackWriter:
    """Collects objects into one pack; an object added twice is stored once."""

    def __init__(self, max_bytes: int = MAX_PACK_BYTES) -> None:
        self._max_bytes = max_bytes
        self.ranges: dict[ObjectId, PackRange] = {}
        self._parts: list[bytes] = []
        self._crcs: dict[ObjectId, int] = {}
        self._end = HEADER_BYTES
        self._name = b""

    def __len__(self) -> int:
        return len(self.ranges)

    @property
    def size(self) -> int:
        """Bytes of the pack if it were finished now."""
        return self._end + TRAILER_BYTES

    def add(self, kind: Kind, data: bytes, oid: ObjectId | None = None, level: int = 1) -> ObjectId:
        """Add an object, compressed at `level`; return its id (`oid` where that is known). Raises PackTooLarge."""
        if oid is None:
            oid = object_id(kind, data)
        if oid not in self.ranges:
            self._put(oid, encode(kind, data, level), len(data))
        return oid

    def add_encoded(self, oid: ObjectId, stored: bytes, size: int) -> None:
        """Add an object whose stored bytes are known, from `encode` or from another pack. Raises PackTooLarge."""
        if oid not in self.ranges:
            self._put(oid, stored, size)

    def _put(self, oid: ObjectId, stored: bytes, size: int) -> None:
        if self.size + len(stored) > self._max_bytes:
            raise PackTooLarge(
                f"a pack would have {self.size + len(stored):,} bytes; at most {self._max_bytes:,} can be indexed"
            )
        self.ranges[oid] = PackRange(self._end, len(stored), size)
        self._crcs[oid] = isal_zlib.crc32(stored)
        self._parts.append(stored)
        self._end += len(stored)

    def finish(self) -> bytes:
        """Return the pack's bytes."""
        head = struct.pack(">4sII", b"PACK", 2, len(self.ranges))
        hasher = sha1(head)
        for part in self._parts:
            hasher.update(part)
        self._name = hasher.digest()
        # One copy of it all: a pack may have many megabytes.
        return b"".join([head, *self._parts, self._name])

    def index(self) -> bytes:
        """Return the index of the pack that `finish` returned."""
        oids = sorted(self.ranges)
        counts = [0] * 256
        for oid in oids:
            counts[oid[0]] += 1
        n = len(oids)
        body = b"".join(
            [
                b"\377tOc\0\0\0\2",
                struct.pack(">256I", *accumulate(counts)),
                *oids,
                struct.pack(f">{n}I", *(self._crcs[oid] for oid in oids)),
                struct.pack(f">{n}I", *(self.ranges[oid].offset for oid in oids)),
                self._name,
            ]
        )
        return body + sha1(body).digest()


def encode(kind: Kind, data: bytes, level: int = 1) -> bytes:
    """Return an object as it is stored in a pack: type and size, then the deflated bytes; `level` is from 0 to 3."""
    size = len(data)
    head = [(kind << 4) | (size & 15)]
    size >>= 4
    while size:
        head[-1] |= 0x80
        head.append(size & 0x7F)
        size >>= 7
    # ISA-L deflates texts at level 1 in less than half of zlib's time, and as small. Its level 0 is not "stored".
    return bytes(head) + (isal_zlib.compress(data, level) if level else _undeflated(data))


def _undeflated(data: bytes) -> bytes:
    """Return what zlib makes of bytes at its level 0, in a quarter of its time: it fills tables that it does not use.

    RFC 1950 and 1951: a header of two bytes, the only block (stored, so with its length and that inverted), a checksum.
    """
    size = len(data)
    if size > _STORED_BLOCK:
        return zlib.compress(data, 0)
    lengths, checksum = _LENGTHS.pack(size, size ^ 0xFFFF), _CHECKSUM.pack(isal_zlib.adler32(data))
    return b"".join((b"x\1\1", lengths, data, checksum))


def decode(stored: bytes) -> tuple[Kind, bytes]:
    """Return the kind and bytes of one stored object. Raises CorruptObject unless it is whole and undeltified."""
    kind, size, at = _head_of(stored)
    try:
        data = isal_zlib.decompress(stored[at:])
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub types the class as an instance
        raise CorruptObject("not an object of a pack of ours") from error
    if len(data) != size:
        raise CorruptObject("an object's size is not what its header says")
    return kind, data


def decode_head(stored: bytes) -> tuple[Kind, int]:
    """Return a stored object's kind and size, given its first HEAD_BYTES. Raises CorruptObject for a delta."""
    return _head_of(stored)[:2]


def _head_of(stored: bytes) -> tuple[Kind, int, int]:
    """Return a stored object's kind, its size, and where its deflated bytes begin."""
    try:
        size, shift, i = stored[0] & 15, 4, 1
        kind = Kind((stored[0] >> 4) & 7)
        while stored[i - 1] & 0x80:
            size |= (stored[i] & 0x7F) << shift
            shift += 7
            i += 1
    except (IndexError, ValueError) as error:
        raise CorruptObject("not an object of a pack of ours") from error
    return kind, size, i


def read_index(index: bytes, pack_size: int) -> dict[ObjectId, PackRange]:
    """Return the ranges of a pack's objects from its index; sizes stay unknown. Raises CorruptObject."""
    if index[:8] != b"\377tOc\0\0\0\2" or sha1(index[:-20]).digest() != index[-20:]:
        raise CorruptObject("not an index of a pack, or a damaged one")
    n = struct.unpack_from(">I", index, 8 + 255 * 4)[0]
    at = 8 + 1024
    oids = [ObjectId(index[at + i * 20 : at + i * 20 + 20]) for i in range(n)]
    offsets = struct.unpack_from(f">{n}I", index, at + n * 24)
    begins = sorted(offsets)
    end_of = dict(zip(begins, [*begins[1:], pack_size - TRAILER_BYTES], strict=True))
    return {oid: PackRange(offset, end_of[offset] - offset, 0) for oid, offset in zip(oids, offsets, strict=True)}


def scan(pack: bytes) -> Iterator[tuple[PackRange, Kind, bytes]]:
    """Yield every object of a whole pack in stored order. Raises CorruptObject where the pack is damaged."""
    if pack[:8] != b"PACK\0\0\0\2" or sha1(pack[:-20]).digest() != pack[-20:]:
        raise CorruptObject("not a pack, or a damaged one")
    at = HEADER_BYTES
    for _ in range(struct.unpack_from(">I", pack, 8)[0]):
        start, first = at, pack[at]
        while pack[at] & 0x80:
            at += 1
        at += 1
        inflate, parts = zlib.decompressobj(), []
        while not inflate.eof:
            # In windows, since zlib copies all of its input that lies behind the object.
            window = pack[at : at + _WINDOW]
            if not window:
                raise CorruptObject("a pack ends inside an object")
            parts.append(inflate.decompress(window))
            at += len(window) - len(inflate.unused_data)
        data = b"".join(parts)
        yield PackRange(start, at - start, len(data)), Kind((first >> 4) & 7), data
