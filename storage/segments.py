"""Checkpoints: what a run of the log's entries sets in the view, ready to be loaded without reading them one by one.

A segment has the rows of the entries `first` to `last` as commands in log order, in chunks that a script takes as they
are. It is made by replaying entries and packs' indexes, so whoever makes one makes the same bytes; it names the hashes
of the entries before and at its end, and is used only where it fits the log. Derived data: it may be deleted at will.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import Any

import msgpack

from storage.entries import Json, effects
from storage.ids import ObjectId, Seq
from storage.packs import Location
from storage.view import FORMAT as VIEW_FORMAT
from storage.view import commands, index

FORMAT = 2
# Segments have the rows of a view's format: those of another are passed by.
FOLDER = f"checkpoints/{VIEW_FORMAT}.{FORMAT}/"
# A chunk ends behind the entry that brings it here; Redis does nothing else while it takes one.
_CHUNK_BYTES = 1 << 20
# Deterministic on every machine is what the same zlib gives; another one's bytes are as good, and never compared.
_LEVEL = 1


class CorruptSegment(Exception):
    """A segment is damaged, or of a format that this version does not know."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The rows of a run of entries."""

    first: Seq
    last: Seq
    previous: str  # the hash of the entry before `first`
    hash: str  # the hash of entry `last`
    chunks: tuple[bytes, ...]  # each for one call of lua/segment.lua


def make(entries: Iterable[tuple[Json, str, dict[ObjectId, Location]]]) -> Segment:
    """Return the segment of entries in order, each with its hash and the places of the objects that it brings."""
    chunks: list[bytes] = []
    rows: list[list[str | bytes]] = []
    size = 0
    first = previous = last = last_hash = None
    for entry, entry_hash, locations in entries:
        first, previous = (entry["seq"], entry["previous"]) if first is None else (first, previous)
        last, last_hash = entry["seq"], entry_hash
        made = [_texts(command) for command in chain(index(locations), commands(effects(entry, entry_hash)))]
        rows += made
        size += sum(len(text) for command in made for text in command)
        if size >= _CHUNK_BYTES:
            chunks.append(_pack(rows))
            rows, size = [], 0
    if rows:
        chunks.append(_pack(rows))
    assert first is not None and last is not None and previous is not None and last_hash is not None
    return Segment(Seq(first), Seq(last), previous, last_hash, tuple(chunks))


def _pack(rows: list[list[str | bytes]]) -> bytes:
    # Redis's reader knows the older msgpack only, in which texts and bytes are one.
    return msgpack.packb(rows, use_bin_type=False)


def _texts(command: list[Any]) -> list[str | bytes]:
    # Lua would write a large number in its own way.
    return [part if isinstance(part, str | bytes) else str(part) for part in command]


def name_of(first: int, last: int) -> str:
    """Return a segment's name in the bucket."""
    return f"{FOLDER}{first:012d}-{last:012d}.segment"


def ends_of(name: str) -> tuple[Seq, Seq]:
    """Return the first and the last entry of the segment with this name."""
    first, _, last = name.removeprefix(FOLDER).removesuffix(".segment").partition("-")
    return Seq(int(first)), Seq(int(last))


def encode(segment: Segment) -> bytes:
    """Return a segment's bytes: a line of JSON, and the chunks behind it."""
    packed = [zlib.compress(chunk, _LEVEL) for chunk in segment.chunks]
    body = b"".join(packed)
    header = {
        "format": FORMAT, "first": segment.first, "last": segment.last, "previous": segment.previous,
        "hash": segment.hash, "chunks": [len(chunk) for chunk in packed], "sha256": sha256(body).hexdigest(),
    }  # fmt: skip
    return json.dumps(header, sort_keys=True).encode() + b"\n" + body


def decode(data: bytes) -> Segment:
    """Read what `encode` wrote.

    Raises CorruptSegment.
    """
    head, _, body = data.partition(b"\n")
    try:
        header = json.loads(head)
        if header["format"] != FORMAT or header["sha256"] != sha256(body).hexdigest():
            raise CorruptSegment("a segment is damaged or of an unknown format")
        chunks, at = [], 0
        for length in header["chunks"]:
            chunks.append(zlib.decompress(body[at : at + length]))
            at += length
        return Segment(header["first"], header["last"], header["previous"], header["hash"], tuple(chunks))
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise CorruptSegment("a segment cannot be read") from error
