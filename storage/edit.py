"""Editing trees: many paths, one after the other, each commit's trees written once. Pure, given a reader of trees.

A directory is read when a path first goes through it and copied when it first changes; `write` makes new tree objects
only for directories that changed since the last one, bottom up. So a commit costs the bytes of the directories on its
changed paths (invariant 8), whatever the size of the repository.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container

from storage.ids import ObjectId
from storage.objects import EMPTY_TREE, TREE_MODE, Kind, Tree, Version, object_id, row, version_of
from storage.trees import ReadTree

Emit = Callable[[ObjectId, bytes], None]
"""Takes each new tree object: its id and its bytes."""


class _Directory:
    """A directory that is being edited; `rows` is shared with a parsed tree until `own` copies it."""

    __slots__ = ("children", "dirty", "keys", "oid", "owned", "rows")

    def __init__(self, oid: ObjectId, tree: Tree) -> None:
        self.oid = oid
        self.keys = tree.keys
        self.rows = tree.rows
        self.children: dict[bytes, _Directory] = {}
        self.owned = False
        self.dirty = False

    def find(self, key: bytes) -> int:
        """Return the position of `key`, or -1."""
        i = bisect_left(self.keys, key)
        return i if i < len(self.keys) and self.keys[i] == key else -1

    def put(self, key: bytes, whole: bytes) -> None:
        """Set the row under `key`."""
        self._own()
        i = bisect_left(self.keys, key)
        if i < len(self.keys) and self.keys[i] == key:
            self.rows[i] = whole
        else:
            self.keys.insert(i, key)
            self.rows.insert(i, whole)

    def remove(self, key: bytes) -> None:
        """Delete the row under `key` if there is one."""
        i = self.find(key)
        if i >= 0:
            self._own()
            del self.keys[i], self.rows[i]

    def _own(self) -> None:
        if not self.owned:
            self.keys, self.rows, self.owned = self.keys.copy(), self.rows.copy(), True


class TreeEditor:
    """One tree under change. Look-ups see every edit at once; `write` names the present state."""

    def __init__(self, read: ReadTree, root: ObjectId) -> None:
        self._read = read
        self._root = _Directory(root, read(root))
        self.root = root
        """The id of the tree at the last `write` (at first: the tree it began with)."""

    def get(self, path: bytes) -> Version | None:
        """Return what stands at `path` now, or None."""
        parts = path.split(b"/")
        directory = self._root
        for part in parts[:-1]:
            child = self._child(directory, part)
            if child is None:
                return None
            directory = child
        return self._version(directory, parts[-1])

    def file_in_the_way(self, path: bytes, leaving: Container[bytes]) -> bytes | None:
        """Return a file that forbids a file at `path`: one above it, or one below; None if the way is free.

        Files in `leaving` are about to be deleted and forbid nothing. Reads no more than `leaving` lets it pass.
        """
        parts = path.split(b"/")
        directory = self._root
        for i, part in enumerate(parts[:-1]):
            if directory.find(part) >= 0:
                above = b"/".join(parts[: i + 1])
                return None if above in leaving else above
            child = self._child(directory, part)
            if child is None:
                return None
            directory = child
        below = self._child(directory, parts[-1])
        return self._first_file(below, path + b"/", leaving) if below else None

    def put(self, path: bytes, version: Version) -> None:
        """Set the file at `path`; what is in the way must be deleted before."""
        parts = path.split(b"/")
        directory = self._root
        directory.dirty = True
        for part in parts[:-1]:
            child = self._child(directory, part)
            if child is None:
                child = _Directory(EMPTY_TREE, Tree([], []))
                directory.children[part] = child
            directory = child
            directory.dirty = True
        directory.put(parts[-1], row(version.mode, parts[-1], version.oid))

    def delete(self, path: bytes) -> None:
        """Delete the file at `path` if there is one; directories that become empty go with it at `write`."""
        parts = path.split(b"/")
        trail = [self._root]
        for part in parts[:-1]:
            child = self._child(trail[-1], part)
            if child is None:
                return
            trail.append(child)
        if trail[-1].find(parts[-1]) < 0:
            return
        for directory in trail:
            directory.dirty = True
        trail[-1].remove(parts[-1])

    def write(self, emit: Emit) -> ObjectId:
        """Make objects of every changed directory, hand them to `emit`, and return the root's id."""
        self._write(self._root, emit)
        self.root = self._root.oid
        return self.root

    def _write(self, directory: _Directory, emit: Emit) -> None:
        if not directory.dirty:
            return
        emptied = []
        for name, child in directory.children.items():
            if not child.dirty:
                continue
            self._write(child, emit)
            if child.keys:
                directory.put(name + b"/", row(TREE_MODE, name, child.oid))
            else:
                directory.remove(name + b"/")
                emptied.append(name)
        for name in emptied:
            del directory.children[name]
        data = b"".join(directory.rows)
        directory.oid = object_id(Kind.TREE, data)
        directory.dirty = False
        emit(directory.oid, data)

    def _child(self, directory: _Directory, name: bytes) -> _Directory | None:
        """Return the directory `name` of `directory`, read if need be, or None."""
        child = directory.children.get(name)
        if child is None:
            i = directory.find(name + b"/")
            if i < 0:
                return None
            oid = version_of(directory.rows[i]).oid
            child = directory.children[name] = _Directory(oid, self._read(oid))
        return child

    def _version(self, directory: _Directory, name: bytes) -> Version | None:
        i = directory.find(name)
        if i >= 0:
            return version_of(directory.rows[i])
        child = directory.children.get(name)
        if child is not None:
            # An edited directory's id is not known before `write`; that it is a directory is what callers ask.
            return Version(TREE_MODE, child.oid) if child.keys or child.children else None
        i = directory.find(name + b"/")
        return version_of(directory.rows[i]) if i >= 0 else None

    def _first_file(self, directory: _Directory, base: bytes, leaving: Container[bytes]) -> bytes | None:
        for key in directory.keys:
            if key.endswith(b"/"):
                continue
            if base + key not in leaving:
                return base + key
        names = {key[:-1] for key in directory.keys if key.endswith(b"/")} | directory.children.keys()
        for name in sorted(names):
            child = self._child(directory, name)
            found = self._first_file(child, base + name + b"/", leaving) if child else None
            if found:
                return found
        return None
