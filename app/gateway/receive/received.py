"""What was received of one push, as it is understood from: commits, trees and contents, wherever they are kept.

A small push is kept in memory (small/in_memory.py); any other in a folder of its own, by Git (incoming.py). Either has
the objects of the push and those of the slice's clone store, and nobody else's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

from cachetools import LRUCache

from app.gateway.receive.commits import PushedCommit
from storage.base.errors import Refused, Unavailable
from storage.base.ids import ObjectId
from storage.git.objects import Kind, Tree

_TREES = 64 << 20  # bytes of trees that are remembered
# Of a commit and of a tree, in bytes: they are in memory as a whole. A message has far less (max_message_bytes).
_MOST_READ = {Kind.COMMIT: 8 << 20, Kind.TREE: 32 << 20}


class NotComplete(Refused):
    """The push lacks objects, or has some that Git does not accept."""


class ContentTooLarge(Refused):
    """An object is larger than one may be."""


class StoreGone(Unavailable):
    """The clone store was deleted while the push was read."""


class Received(ABC):
    """The objects of one push. Used by one thread at a time; `remove` ends it."""

    def __init__(self) -> None:
        self._trees: LRUCache[ObjectId, Tree] = LRUCache(_TREES, getsizeof=lambda tree: tree.memory)
        self._renames: dict[tuple[ObjectId, ObjectId], dict[bytes, bytes]] = {}

    @abstractmethod
    def finish(self, tips: Iterable[ObjectId]) -> None:
        """Wait until it can be read, and begin to look whether all that these commits reach is there.

        Raises NotComplete, NoRoom and GitFailed.
        """

    @abstractmethod
    def check(self) -> None:
        """Wait until it is known that everything is there: here, or in the slice's store. Raises NotComplete."""

    @abstractmethod
    def check_store(self) -> None:
        """Raise StoreGone where the store is not the one any more that the push was to be read with.

        It may be deleted at any moment: then what the push lacks is not its fault.
        """

    @abstractmethod
    def merge_base(self, tip: ObjectId) -> ObjectId | None:
        """Return the best common ancestor of a commit and the branch, None where there is none. Raises GitFailed."""

    @abstractmethod
    def _find_renamed(self, old: ObjectId, new: ObjectId) -> dict[bytes, bytes]:
        """Return what `renamed` does, by asking Git. Raises GitFailed and RenamesTakeLong."""

    @abstractmethod
    def remove(self) -> None:
        """End its processes, and delete everything."""

    @abstractmethod
    def _read(self, oid: ObjectId, kind: Kind, most: int) -> bytes:
        """Return an object's bytes. Raises ContentTooLarge, NotComplete, and StoreGone."""

    def renamed(self, old: ObjectId, new: ObjectId) -> dict[bytes, bytes]:
        """Return the old path of each file of the tree `new` that Git takes for a renamed one of `old`.

        Raises GitFailed and RenamesTakeLong.
        """
        found = self._renames.get((old, new))
        if found is None:
            found = self._renames[old, new] = self._find_renamed(old, new)
        return found

    def commit(self, oid: ObjectId) -> PushedCommit:
        """Return a commit. Raises NotComplete and CommitRefused."""
        return PushedCommit.parse(oid, self._read_whole(oid, Kind.COMMIT))

    def tree(self, oid: ObjectId) -> Tree:
        """Return a tree. Raises NotComplete."""
        tree = self._trees.get(oid)
        if tree is None:
            tree = Tree.parse(self._read_whole(oid, Kind.TREE))
            if tree.memory <= self._trees.maxsize:
                self._trees[oid] = tree
        return tree

    def content(self, oid: ObjectId, most: int) -> bytes:
        """Return a blob's content of `most` bytes at most. Raises ContentTooLarge and NotComplete."""
        return self._read(oid, Kind.BLOB, most)

    def _read_whole(self, oid: ObjectId, kind: Kind) -> bytes:
        try:
            return self._read(oid, kind, _MOST_READ[kind])
        except ContentTooLarge as error:
            raise NotComplete(f"the {kind.name.lower()} {oid.hex()} has {error}") from None


def identity_of(store: Path) -> tuple[int, int] | None:
    """Return what tells a store from one that was made in its place; None where there is none."""
    try:
        found = (store / "HEAD").stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
