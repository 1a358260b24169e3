"""Objects of clone stores, read in this process by libgit2: a process of Git's would take as long as a small push.

A store that was deleted, and perhaps made anew, is another one: nothing of it is read for who began with the first.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from pathlib import Path

from cachetools import LRUCache
from pygit2 import GitError, Odb, Oid
from pygit2 import settings as libgit2

from app.gateway.receive.received import identity_of
from app.gateway.receive.small.pack import MOST_INFLATED, Stored
from storage.base.ids import ObjectId
from storage.git.objects import CorruptObject, Kind, Tree

_MOST_STORES = 256  # that are held open
_MOST_PACKS = 256
"""Packs of all stores whose files are held open: libgit2 has no limit of its own."""
_EVERY = 10.0  # seconds between two looks for stores that are gone: their disk is free once their files are closed
_TREES = 32 << 20
"""Bytes of trees that are remembered of all stores: pushes that follow one another begin with the same ones."""
_NOT_THERE = (KeyError, ValueError, OSError, GitError)


class _Trees:
    """Trees of stores, as many as fit. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: LRUCache[tuple[object, ObjectId], Tree] = LRUCache(_TREES, getsizeof=lambda tree: tree.memory)

    def get(self, store: object, oid: ObjectId) -> Tree | None:
        with self._lock:
            return self._kept.get((store, oid))

    def keep(self, store: object, oid: ObjectId, tree: Tree) -> None:
        if tree.memory <= _TREES:
            with self._lock:
                self._kept[store, oid] = tree


class StoreObjects:
    """The objects of one store. Safe for threads."""

    def __init__(self, store: Path, trees: _Trees | None = None) -> None:
        """Read those of a store as it is now; `trees` are remembered together with those of others."""
        self.path = store
        self.identity = identity_of(store)
        self._odb: Odb | None = None
        self._merged: object = None  # which index of merged packs that was opened with
        self._trees = trees or _Trees()

    def header(self, oid: ObjectId) -> tuple[Kind, int] | None:
        """Return the kind and size of an object; None where it is not there."""
        # A second time, where packs were merged meanwhile.
        for _ in range(2):
            try:
                kind, size = self._opened().read_header(Oid(raw=oid))
                return Kind(int(kind)), size
            except _NOT_THERE:
                self._odb = None
        return None

    def read(self, oid: ObjectId, most: int = MOST_INFLATED) -> Stored | None:
        """Return an object; None where it is not there, and where it has more than `most` bytes."""
        header = self.header(oid)
        if header is None or header[1] > most:
            return None
        try:
            kind, data = self._opened().read(Oid(raw=oid))
        except _NOT_THERE:
            return None
        return Stored(Kind(int(kind)), data)

    def kind(self, oid: ObjectId) -> Kind | None:
        """Return the kind of an object; None where it is not there."""
        header = self.header(oid)
        return header[0] if header else None

    def commit_tree(self, oid: ObjectId) -> ObjectId | None:
        """Return the tree of a commit; None where it is not there."""
        made = self.read(oid)
        if made is None or made.kind != Kind.COMMIT:
            return None
        return ObjectId(bytes.fromhex(made.data[5:45].decode()))

    def tree(self, oid: ObjectId) -> Tree | None:
        """Return a tree; None where it is not there, or too large for a small push."""
        tree = self._trees.get((self.path, self.identity), oid)
        if tree is not None:
            return tree
        made = self.read(oid)
        if made is None or made.kind != Kind.TREE:
            return None
        try:
            tree = Tree.parse(made.data)
        except CorruptObject:
            return None
        self._trees.keep((self.path, self.identity), oid, tree)
        return tree

    def renew(self) -> None:
        """Let go of packs that were merged since they were opened: until then they take their disk."""
        if self._odb is not None and self._merged != self._index():
            self._odb = None

    def _opened(self) -> Odb:
        odb = self._odb
        if odb is None:
            self._merged = self._index()
            odb = self._odb = Odb(str(self.path / "objects"))
        return odb

    def _index(self) -> object:
        try:
            found = (self.path / "objects" / "pack" / "multi-pack-index").stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns


class StoresObjects:
    """The objects of all stores of one process. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, StoreObjects] = OrderedDict()
        self._trees = _Trees()
        self._swept = 0.0
        libgit2.mwindow_file_limit = _MOST_PACKS
        libgit2.enable_caching(False)  # it would be of all stores, and 256 MiB

    def of(self, store: Path) -> StoreObjects:
        """Return the objects of a store as it is now."""
        with self._lock:
            if time.monotonic() >= self._swept + _EVERY:
                self._sweep()
            known = self._known.get(store)
            if known is None or known.identity is None or known.identity != identity_of(store):
                known = self._known[store] = StoreObjects(store, self._trees)
            known.renew()
            self._known.move_to_end(store)
            while len(self._known) > _MOST_STORES:
                self._known.popitem(last=False)
            return known

    def _sweep(self) -> None:
        """Close those of stores that are gone, and of packs that were merged."""
        for store, known in list(self._known.items()):
            if known.identity != identity_of(store):
                del self._known[store]
            known.renew()
        self._swept = time.monotonic()
