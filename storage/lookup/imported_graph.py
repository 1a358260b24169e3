"""The graph of an imported history: the parents of each commit, by the numbers that storage/lookup/imported.py gives.

Beside its parents a commit has its *dominator*: the newest commit that every way from it down to a root goes through,
if there is one. Of a commit with one parent that is the parent, and of a merge mostly the commit where what it merged
began. And it has the number of an earlier dominator, so that from any commit any of its dominators is reached in a few
steps, however far it is (the skew-binary jump pointers of Myers, 1983). So what happens on side branches is looked at
only where somebody asks for it.

The rows of 128 consecutive commits stand behind one another in a table: they are one read. storage/importing/graph.py
makes them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import NamedTuple, TypeVar

from storage.base.batched import batched
from storage.base.errors import Corrupt
from storage.base.ids import ObjectId
from storage.lookup.archive import Archive, Row, RowKind
from storage.lookup.imported import COMMITS, MOST, count_of_path

V = TypeVar("V")

NOTHING = -1
"""The number of what is below all roots: the dominator of a commit that no other dominates."""
_BLOCK = 128
_MOST_BLOCKS = 16  # that are read at once, by who goes down commit by commit
_COMMON_BYTES, _NUMBER_BYTES = 12, 8
_IN_NODE, _IN_ROW = 5, 7
_NODE = struct.Struct(f">HII{_IN_NODE}I")  # how many parents, and of the rest each number and one: 0 is none
_MORE = struct.Struct(f">{_IN_ROW}I")
_NUMBER = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class _InBlocks(RowKind[V]):
    """Rows of numbers, of which consecutive ones have keys that follow one another."""

    def key(self, name: str) -> bytes:
        number = int(name)
        block = sha1(f"{self.kind}:{number // _BLOCK}".encode(), usedforsecurity=False).digest()
        return block[:_COMMON_BYTES] + number.to_bytes(_NUMBER_BYTES, "big")


_NODES: RowKind[bytes] = _InBlocks("imported-node", bytes, bytes)  # by the number of the commit
_PARENTS: RowKind[bytes] = RowKind("imported-parents", bytes, bytes)  # those that a node has no room for
_NUMBERS: RowKind[int] = RowKind("imported-number", _NUMBER.pack, lambda value: int(_NUMBER.unpack_from(value)[0]))


class Node(NamedTuple):
    """A commit of the graph; all are numbers."""

    parents: tuple[int, ...]  # in the order in which the commit names them
    dominator: int
    jump: int  # another dominator, further down, or the same


def rows_of_commit(oid: ObjectId, number: int, node: Node) -> Iterator[Row]:
    """Yield the rows of a commit."""
    yield _NUMBERS.row(oid.hex(), number)
    parents = [parent + 1 for parent in node.parents]
    first = parents[:_IN_NODE]
    padding = [0] * (_IN_NODE - len(first))
    yield _NODES.row(str(number), _NODE.pack(len(parents), node.dominator + 1, node.jump + 1, *first, *padding))
    for at in range(_IN_NODE, len(parents), _IN_ROW):
        some = parents[at : at + _IN_ROW]
        yield _PARENTS.row(f"{number}:{at}", _MORE.pack(*some, *[0] * (_IN_ROW - len(some))))


class ImportedGraph:
    """The graph of a repository's imported history, for one request. Not safe for threads."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._nodes: dict[int, bytes] = {}
        self._read: set[int] = set()  # blocks
        self._ahead = 1  # blocks that are read at once

    def newest(self) -> int | None:
        """Return the number of the imported tip; None where nothing was imported, or by a version without graphs."""
        count = count_of_path(self._archive, b"/")
        return count - 1 if count and self._raw(count - 1) is not None else None

    def number_of(self, oid: ObjectId) -> int | None:
        """Return the number of an imported commit, None where it is none. Raises Unavailable."""
        return self._archive.look_up(_NUMBERS, [oid.hex()]).get(oid.hex())

    def commits(self, numbers: Iterable[int]) -> dict[int, ObjectId]:
        """Return the ids of commits, looked up together. Raises Unavailable."""
        found: dict[int, ObjectId] = {}
        for some in batched(list(dict.fromkeys(numbers)), MOST):
            names = {str(number): number for number in some}
            found |= {names[name]: oid for name, oid in self._archive.look_up(COMMITS, list(names)).items()}
        return found

    def node(self, number: int) -> Node:
        """Return a commit by its number; reads some that are older with it. Raises Corrupt and Unavailable."""
        raw = self._raw(number)
        if raw is None:
            raise Corrupt(f"the graph of an imported history lacks its commit {number}")
        count, dominator, jump, *numbers = _NODE.unpack(raw)
        if count > _IN_NODE:
            numbers += self._more_parents(number, count)
        return Node(tuple(parent - 1 for parent in numbers[:count]), dominator - 1, jump - 1)

    def _raw(self, number: int) -> bytes | None:
        if number not in self._nodes and number // _BLOCK not in self._read:
            self._read_blocks(number // _BLOCK)
        return self._nodes.get(number)

    def _read_blocks(self, block: int) -> None:
        """Read a block, and older ones where the ones behind it have been read: somebody goes down step by step."""
        self._ahead = min(2 * self._ahead, _MOST_BLOCKS) if block + 1 in self._read else 1
        some = [each for each in range(block, max(-1, block - self._ahead), -1) if each not in self._read]
        names = {str(number): number for each in some for number in range(each * _BLOCK, (each + 1) * _BLOCK)}
        found = self._archive.look_up(_NODES, list(names))
        self._nodes |= {names[name]: raw for name, raw in found.items()}
        self._read.update(some)

    def _more_parents(self, number: int, count: int) -> Sequence[int]:
        names = [f"{number}:{at}" for at in range(_IN_NODE, count, _IN_ROW)]
        found = self._archive.look_up(_PARENTS, names)
        return [parent for name in names for parent in _MORE.unpack_from(found[name])]
