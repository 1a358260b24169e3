"""Whether a small push is complete and has only plain trees, as Git's `index-pack --strict` and `rev-list` tell. Pure.

A tree is compared with the one that stands there in the commit before, down to what the store has: what the store has
is complete, and was checked when it came. So the cost follows what was changed, and not the size of folders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Protocol

from app.gateway.receive.small.pack import Stored, Unusual
from storage.base.ids import ObjectId
from storage.git.objects import CorruptObject, Kind, Tree

# Names that no system takes for one of Git's own: no `~`, `:` or backslash, and none of the bytes with which the
# characters begin that HFS+ ignores. Of those that begin with .git the most usual.
_NAME = rb"(?!\.{1,2}\0)(?!\.(?i:git)(?!(?:hub|ignore|keep)\0))[^\0/\\:~\xe2\xef]{1,255}"
_ROW = re.compile(rb"(100644|100755|120000|160000|40000) (%s)\0.{20}" % _NAME, re.DOTALL)
_SUBMODULE = b"160000"
_NOTHING = ObjectId(b"\0" * 20)
_MOST_LOOKED_UP = 10_000  # objects that the store is asked for
_MOST_COMPARED = 500_000  # rows of the trees that stood there before, which may be much larger than the push


class InStore(Protocol):
    """The store of the slice."""

    def kind(self, oid: ObjectId) -> Kind | None:
        """Return the kind of an object; None where it is not there."""

    def commit_tree(self, oid: ObjectId) -> ObjectId | None:
        """Return the tree of a commit; None where it is not there."""

    def tree(self, oid: ObjectId) -> Tree | None:
        """Return a tree; None where it is not there, or too large for a small push."""


def check_complete(objects: Mapping[ObjectId, Stored], tip: ObjectId, store: InStore) -> None:
    """Check that all that a commit reaches is among `objects`, those of a small push, or in the store.

    And that nothing else is among them, which nobody would have looked at. Raises Unusual.
    """
    check = _Check(objects, store)
    check.line(tip)
    if check.reached != objects.keys():
        raise Unusual


class _Check:
    def __init__(self, objects: Mapping[ObjectId, Stored], store: InStore) -> None:
        self._objects = objects
        self._store = store
        self.reached: set[ObjectId] = set()
        """Those of the push, whatever they are."""
        self._folders_checked: set[ObjectId] = set()
        self._looked_up = 0
        self._compared = 0

    def line(self, tip: ObjectId) -> None:
        """Check commits from the store up to a tip; each has one parent.

        The oldest first: what stood in a tree before counts as checked. Two trees by turns, of which each has what is
        nowhere, would vouch for one another.
        """
        trees: list[ObjectId] = []  # the newest first
        oid = tip
        while made := self._objects.get(oid):
            if made.kind != Kind.COMMIT:
                raise Unusual
            self.reached.add(oid)
            tree, oid = _named(made.data)
            trees.append(tree)
        old = self._store.commit_tree(oid)
        if old is None:
            raise Unusual
        for tree in reversed(trees):
            self._folders(old, tree)
            old = tree

    def _folders(self, old: ObjectId, new: ObjectId) -> None:
        """Check a tree that stands where another one stood, and all below it."""
        waiting: list[tuple[ObjectId | None, ObjectId]] = [(old, new)]
        while waiting:
            before, oid = waiting.pop()
            if oid == before or oid in self._folders_checked:
                continue
            self._folders_checked.add(oid)
            made = self._found(oid, Kind.TREE)
            if made is not None:
                waiting += self._rows(self._parsed(made.data), self._before(before))

    def _before(self, oid: ObjectId | None) -> Tree | None:
        made = self._objects.get(oid) if oid else None
        if made:
            return self._parsed(made.data) if made.kind == Kind.TREE else None
        return self._store.tree(oid) if oid else None

    def _rows(self, tree: Tree, before: Tree | None) -> Iterator[tuple[ObjectId | None, ObjectId]]:
        """Check what stands in a tree, and did not before; yield its folders, each with the one that stood there."""
        if not all(one < other for one, other in pairwise(tree.keys)):
            raise Unusual
        if len({key.rstrip(b"/") for key in tree.keys}) != len(tree.keys):
            raise Unusual  # a file and a folder of one name, which need not be neighbours
        known = self._known(before)
        for row in tree.rows:
            if row in known:
                continue
            match = _ROW.fullmatch(row)
            oid = ObjectId(row[-20:])
            if match is None or oid == _NOTHING:
                raise Unusual
            if match[1] == b"40000":
                yield self._folder_before(before, match[2]), oid
            elif match[1] != _SUBMODULE:  # whose commit is another repository's
                self._found(oid, Kind.BLOB)

    def _known(self, before: Tree | None) -> frozenset[bytes]:
        if before is None:
            return frozenset()
        self._compared += len(before.rows)
        if self._compared > _MOST_COMPARED:
            raise Unusual
        return frozenset(before.rows)

    def _folder_before(self, before: Tree | None, name: bytes) -> ObjectId | None:
        at = before.find_key(name + b"/") if before else -1
        return ObjectId(before.rows[at][-20:]) if before and at >= 0 else None

    def _parsed(self, data: bytes) -> Tree:
        try:
            return Tree.parse(data)
        except CorruptObject:
            raise Unusual from None

    def _found(self, oid: ObjectId, kind: Kind) -> Stored | None:
        """Return an object of the push, None where the store has it. Raises Unusual where neither has."""
        made = self._objects.get(oid)
        if made is not None:
            self.reached.add(oid)
            found: Kind | None = made.kind
        else:
            self._looked_up += 1
            if self._looked_up > _MOST_LOOKED_UP:
                raise Unusual
            found = self._store.kind(oid)
        if found != kind:
            raise Unusual
        return made


def _named(commit: bytes) -> tuple[ObjectId, ObjectId]:
    """Return the tree and the parent of a commit that pack.py let pass."""
    return ObjectId(bytes.fromhex(commit[5:45].decode())), ObjectId(bytes.fromhex(commit[53:93].decode()))
