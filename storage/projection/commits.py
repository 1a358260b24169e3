"""The commits of a projection: what a commit of the chain says, without anything that tells of the chain. Pure.

All is bytes: a name, an address or a message of another encoding stays what it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from storage.base.ids import ObjectId
from storage.git.objects import CorruptObject
from storage.git.trailers import RESERVED
from storage.log.records import Pushed

DEFINED = b"Change the paths of this slice\n"
"""The message of the commit that a changed definition makes."""
PART = b"The part of a change that has other paths too\n"
"""The message of a commit that changes something outside of the slice."""

_SLUICE = b"Sluice <sluice@localhost>"

_RESERVED_LINE = re.compile(rb"^(?:%s)[ \t]*:[^\n]*\n?" % "|".join(RESERVED).encode(), re.IGNORECASE | re.MULTILINE)
_TIME = re.compile(rb" (\d+) [+-]\d{4}\Z")


class Said(NamedTuple):
    """What a commit says beside its tree and its parents; the first two as the lines of its header have them."""

    author: bytes
    committer: bytes
    message: bytes
    encoding: bytes = b""


def read(data: bytes) -> tuple[ObjectId, Said]:
    """Return a commit's tree, and what it says; signatures and other headers fall away. Raises CorruptObject."""
    head, _, message = data.partition(b"\n\n")
    fields: dict[bytes, bytes] = {}
    for line in head.split(b"\n"):
        name, _, value = line.partition(b" ")
        fields.setdefault(name, value)  # a line that continues another begins with a space
    try:
        tree = ObjectId(bytes.fromhex(fields[b"tree"].decode()))
        said = Said(fields[b"author"], fields[b"committer"], message, fields.get(b"encoding", b""))
    except (KeyError, ValueError) as error:
        raise CorruptObject("not a commit") from error
    return tree, said


def write(tree: ObjectId, parents: Sequence[ObjectId], said: Said) -> bytes:
    """Return the bytes of a commit object."""
    lines = [b"tree " + tree.hex().encode(), *(b"parent " + parent.hex().encode() for parent in parents)]
    lines += [b"author " + said.author, b"committer " + said.committer]
    if said.encoding:
        lines.append(b"encoding " + said.encoding)
    return b"\n".join([*lines, b"", said.message])


def projected(tree: ObjectId, parents: Sequence[ObjectId], said: Said, pushed: Pushed | None = None) -> bytes:
    """Return the commit of a projection for one of the chain that says `said`, and that was `pushed` perhaps."""
    if pushed is not None:
        texts = (pushed.author, pushed.committer, pushed.message, pushed.encoding)
        return write(tree, parents, Said(*map(pushed.raw, texts)))
    return write(tree, parents, said._replace(message=without_reserved(said.message)))


def without_reserved(message: bytes) -> bytes:
    """Return a message without the trailers that Sluice wrote, nor the blank line that set them apart.

    Their names are reserved, so that each line which begins with one is Sluice's.
    """
    rest, count = _RESERVED_LINE.subn(b"", message)
    return rest.rstrip() + b"\n" if count else message


def part(tree: ObjectId, parents: Sequence[ObjectId], said: Said) -> bytes:
    """Return the commit of a projection for one that changes something outside of the slice.

    Who may not read all paths of a changeset is told neither its author nor its message: both may tell of the others.
    """
    return _own(tree, parents, _time_of(said), PART)


def defined(tree: ObjectId, parents: Sequence[ObjectId], before: Said, time: int) -> bytes:
    """Return the commit that a changed definition makes at `time` (seconds; 0: the log does not say).

    It is no older than the commit of the chain `before`.
    """
    return _own(tree, parents, max(time, _time_of(before)), DEFINED)


def _own(tree: ObjectId, parents: Sequence[ObjectId], time: int, message: bytes) -> bytes:
    line = b"%s %d +0000" % (_SLUICE, time)
    return write(tree, parents, Said(line, line, message))


def _time_of(said: Said) -> int:
    match = _TIME.search(said.committer)
    if match is None:
        raise CorruptObject("a commit of the chain has no time")
    return int(match[1])
