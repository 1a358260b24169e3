"""Segments of checkpoints: the rows that consecutive entries set in the view, for loading without reading the entries.

A segment has the rows of the entries `first` to `last` as commands in log order, in chunks that a script executes,
after the loader has gathered the rows of the index of objects from them (storage/view/object_index.py). It has three
parts: present state, idempotency keys, and history. These have no row in common, so a part can be left out: history
that has left the view since is not read at all. A segment is made from entries and the indexes of packs, so every
process makes the same bytes. It names the hashes of the entry before it and of its last entry, and is used only if both
are those of the log. Segments are derived data: they may be deleted at any time.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import Annotated

import msgpack
from isal import isal_zlib
from msgspec import DecodeError, Meta
from msgspec.json import Decoder

from storage.base.errors import Corrupt
from storage.base.ids import ObjectId, Seq
from storage.git.packs import Location
from storage.log.entry import Compact, Entry
from storage.log.records import Record
from storage.view.rows import HISTORY, KEYS, Forgotten, effects
from storage.view.view import FORMAT as VIEW_FORMAT
from storage.view.view import commands, index

FORMAT = 3
# Segments have the rows of a view's format: those of another are passed by.
FOLDER = f"checkpoints/{VIEW_FORMAT}.{FORMAT}/"
# A chunk ends behind the entry that brings it here; Redis does nothing else while it takes one.
_CHUNK_BYTES = 1 << 20
_NAME = re.compile(re.escape(FOLDER) + r"([0-9]{12,})-([0-9]{12,})\.segment")
# Deterministic on every machine is what the same library gives; another one's bytes are as good, and never compared.
_LEVEL = 1
_WITH_NUMBERS = frozenset({"ZADD", "HSET"})
_STATE, _KEYS, _HISTORY = range(3)
PARTS = 3
HEAD_BYTES = 16 << 10
"""A first read of so many bytes mostly has the header and the state."""


class CorruptSegment(Corrupt):
    """A segment is damaged, or of a format that this version does not know."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The rows of a run of entries."""

    first: Seq
    last: Seq
    previous: str  # the hash of the entry before `first`
    hash: str  # the hash of entry `last`
    parts: tuple[tuple[bytes, ...], ...]  # state, keys, history, as many as were read: chunks for lua/segment.lua
    # Up to which entries history and keys are forgotten at its end, where one of its entries says so.
    forgotten: tuple[Seq, Seq] | None = None

    @property
    def chunks(self) -> Iterable[bytes]:
        """All chunks, in the order in which they may be taken."""
        return chain(*self.parts)


def wanted(last: int, forgotten: tuple[int, int]) -> int:
    """Return how many parts of a segment that ends with entry `last` are to be loaded."""
    archived, keys_through = forgotten
    return 1 + (last > keys_through) + (last > archived)


def make(entries: Iterable[tuple[Entry, str, dict[ObjectId, Location], Forgotten]]) -> Segment:
    """Return the segment of entries, each with its hash, its objects' locations, and what it has the view forget."""
    parts = [_Chunks() for _ in range(PARTS)]
    first = previous = last = last_hash = forgotten = None
    head: dict[str | bytes, str | bytes] = {}  # each entry sets some of its fields, and the last of each counts
    for entry, entry_hash, locations, gone in entries:
        first, previous = (entry.seq, entry.previous) if first is None else (first, previous)
        last, last_hash = entry.seq, entry_hash
        if isinstance(entry, Compact):
            forgotten = (entry.archived, entry.keys_through)
        for command in chain(index(locations), commands(effects(entry, entry_hash, gone))):
            if command[0] in _WITH_NUMBERS:  # which Lua would write in its own way, where they are large
                command = [str(part) if type(part) is int else part for part in command]
            if command[1] == "head":
                head.update(zip(command[2::2], command[3::2], strict=True))
            else:
                parts[_part_of(command[1])].add(command)
        for part in parts:
            part.end_of_entry()
    parts[_STATE].add(["HSET", "head", *chain(*head.items())])
    assert first is not None and last is not None and previous is not None and last_hash is not None
    made = tuple(tuple(part.finish()) for part in parts)
    return Segment(Seq(first), Seq(last), previous, last_hash, made, forgotten)


def _part_of(key: str) -> int:
    return _KEYS if key.startswith(KEYS) else _HISTORY if key.startswith(HISTORY) else _STATE


class _Chunks:
    """The rows of one part."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._rows: list[list[str | bytes]] = []
        self._size = 0

    def add(self, row: list[str | bytes]) -> None:
        """Add a command."""
        self._rows.append(row)
        self._size += sum(map(len, row))

    def end_of_entry(self) -> None:
        """End the chunk where it is large enough."""
        if self._size >= _CHUNK_BYTES:
            self.finish()

    def finish(self) -> list[bytes]:
        """End the chunk, and return all."""
        if self._rows:
            # Redis's reader knows the older msgpack only, in which texts and bytes are one.
            self._chunks.append(msgpack.packb(self._rows, use_bin_type=False))
            self._rows, self._size = [], 0
        return self._chunks


def name_of(first: int, last: int) -> str:
    """Return a segment's name in the bucket."""
    return f"{FOLDER}{first:012d}-{last:012d}.segment"


def ends_of(name: str) -> tuple[Seq, Seq] | None:
    """Return the first and the last entry of the segment with this name, None where it names none."""
    match = _NAME.fullmatch(name)
    return (Seq(int(match[1])), Seq(int(match[2]))) if match else None


class _Header(Record, frozen=True, kw_only=True):
    """The first line of a segment."""

    format: int
    first: Seq
    last: Seq
    previous: str
    hash: str
    forgotten: tuple[Seq, Seq] | None
    chunks: Annotated[list[list[int]], Meta(min_length=PARTS, max_length=PARTS)]  # their lengths, of each part
    sha256: Annotated[list[str], Meta(min_length=PARTS, max_length=PARTS)]  # of each part


def encode(segment: Segment) -> bytes:
    """Return a segment's bytes: a line of JSON, and the chunks of its parts behind it."""
    packed = [[isal_zlib.compress(chunk, _LEVEL) for chunk in part] for part in segment.parts]
    header = {
        "format": FORMAT, "first": segment.first, "last": segment.last, "previous": segment.previous,
        "hash": segment.hash, "forgotten": segment.forgotten, "chunks": [[len(c) for c in part] for part in packed],
        "sha256": [sha256(b"".join(part)).hexdigest() for part in packed],
    }  # fmt: skip
    return json.dumps(header, sort_keys=True).encode() + b"\n" + b"".join(chain(*packed))


def size_of(data: bytes, parts: int) -> int:
    """Return how many bytes of a segment have its first `parts` parts, given its beginning. Raises CorruptSegment."""
    header, at = _header(data)
    return at + sum(sum(lengths) for lengths in header.chunks[:parts])


def decode(data: bytes, parts: int = PARTS) -> Segment:
    """Read the first `parts` parts of what `encode` wrote, from so many bytes of it at least. Raises CorruptSegment."""
    header, at = _header(data)
    read = []
    for lengths, of in zip(header.chunks[:parts], header.sha256, strict=False):
        if sha256(data[at : at + sum(lengths)]).hexdigest() != of:
            raise CorruptSegment("a segment is damaged")
        chunks = []
        for length in lengths:
            chunks.append(isal_zlib.decompress(data[at : at + length]))
            at += length
        read.append(tuple(chunks))
    return Segment(header.first, header.last, header.previous, header.hash, tuple(read), header.forgotten)


def _header(data: bytes) -> tuple[_Header, int]:
    """Return a segment's header, and where its chunks begin."""
    head, newline, _ = data.partition(b"\n")
    try:
        header = _decoder.decode(head)
    except DecodeError as error:
        raise CorruptSegment("a segment's header cannot be read") from error
    if not newline or header.format != FORMAT:
        raise CorruptSegment("a segment is of an unknown format, or its header is cut")
    return header, len(head) + 1


_decoder = Decoder(_Header)
