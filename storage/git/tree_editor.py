"""Editing trees: many paths, one after the other, each commit's trees written once. Pure, given a reader of trees.

A directory is read when a path first goes through it and copied when it first changes; `write` makes new tree objects
only for directories that changed since the last one, bottom up. So a commit costs the bytes of the directories on its
changed paths (invariant 8), whatever the size of the repository and however many of the paths a directory has.
"""

from bisect import bisect_left
from collections.abc import Callable, Container, Mapping, Sequence

from storage.base.ids import ObjectId
from storage.git.objects import EMPTY_TREE, TREE_MODE, Kind, Tree, Version, object_id, row, version_of
from storage.git.trees import ReadTree

Emit = Callable[[ObjectId, bytes], None]
"""Takes each new tree object: its id and its bytes."""

# So many rows of a directory are changed one by one, each at the cost of moving those behind it; more are merged into
# all rows in one pass.
_FEW = 256


class _Directory:
    """A directory that is being edited; `rows` is shared with a parsed tree until it first changes."""

    __slots__ = ("children", "dirty", "keys", "oid", "owned", "rows", "size")

    def __init__(self, oid: ObjectId, tree: Tree) -> None:
        self.oid = oid
        self.keys = tree.keys
        self.rows = tree.rows
        self.size = tree.size
        self.children: dict[bytes, _Directory] = {}
        self.owned = False
        self.dirty = False

    def find(self, key: bytes) -> int:
        """Return the position of `key`, or -1."""
        i = bisect_left(self.keys, key)
        return i if i < len(self.keys) and self.keys[i] == key else -1

    def update(self, rows: Mapping[bytes, bytes | None]) -> None:
        """Set the rows under these keys; None deletes the one that is there."""
        if len(rows) > _FEW:
            self._merge(rows)
            return
        if rows and not self.owned:
            self.keys, self.rows, self.owned = self.keys.copy(), self.rows.copy(), True
        for key, whole in rows.items():
            self._splice(key, whole)

    def _splice(self, key: bytes, whole: bytes | None) -> None:
        i = bisect_left(self.keys, key)
        if i < len(self.keys) and self.keys[i] == key:
            self.size -= len(self.rows[i])
            if whole is None:
                del self.keys[i], self.rows[i]
            else:
                self.rows[i] = whole
        elif whole is not None:
            self.keys.insert(i, key)
            self.rows.insert(i, whole)
        self.size += len(whole or b"")

    def _merge(self, rows: Mapping[bytes, bytes | None]) -> None:
        merged = dict(zip(self.keys, self.rows, strict=True))
        for key, whole in rows.items():
            if whole is None:
                merged.pop(key, None)
            else:
                merged[key] = whole
        self.keys = sorted(merged)  # nearly sorted already, which costs a pass and not a sort
        self.rows = list(map(merged.__getitem__, self.keys))
        self.size = sum(map(len, self.rows))
        self.owned = True


class TreeEditor:
    """One tree under change. Look-ups see every edit at once; `write` names the present state."""

    def __init__(self, read: ReadTree, root: ObjectId) -> None:
        self._read = read
        self._root = _Directory(root, read(root))
        self.root = root
        """The id of the tree at the last `write` (at first: the tree it began with)."""
        self.unwritten = 0
        """Bytes of the tree objects that `write` would make now, but for the rows of new directories."""

    def get(self, path: bytes) -> Version | None:
        """Return what stands at `path` now, or None."""
        *above, name = path.split(b"/")
        directory = self._directory(above)
        return self._version(directory, name) if directory else None

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
        """Set the file at `path`; what is in the way must be deleted before or in the same `change`."""
        self.change({path: version})

    def delete(self, path: bytes) -> None:
        """Delete the file at `path` if there is one; directories that become empty go with it at `write`."""
        self.change({path: None})

    def change(self, versions: Mapping[bytes, Version | None]) -> None:
        """Set the files at these paths, and delete those that are None, as `put` and `delete` do.

        The paths of one directory are changed together: the cost is that of the directories plus that of the paths.
        """
        changes: dict[bytes, dict[bytes, bytes | None]] = {}
        for path, version in versions.items():
            above, _, name = path.rpartition(b"/")
            whole = row(version.mode, name, version.oid) if version else None
            changes.setdefault(above, {})[name] = whole
        for above, rows in changes.items():
            self._change(above.split(b"/") if above else [], rows)

    def _change(self, above: Sequence[bytes], rows: Mapping[bytes, bytes | None]) -> None:
        if None in rows.values():
            # A delete of what is not there makes no directory, and changes none.
            old = self._directory(above)
            rows = {name: whole for name, whole in rows.items() if whole is not None or (old and old.find(name) >= 0)}
        if not rows:
            return
        directory = self._root
        self._mark(directory)
        for part in above:
            child = self._child(directory, part)
            if child is None:
                child = directory.children[part] = _Directory(EMPTY_TREE, Tree([], []))
            directory = child
            self._mark(directory)
        before = directory.size
        directory.update(rows)
        self.unwritten += directory.size - before

    def _mark(self, directory: _Directory) -> None:
        if not directory.dirty:
            directory.dirty = True
            self.unwritten += directory.size

    def write(self, emit: Emit) -> ObjectId:
        """Make objects of every changed directory, hand them to `emit`, and return the root's id."""
        self._write(self._root, emit)
        self.root = self._root.oid
        self.unwritten = 0
        return self.root

    def _write(self, directory: _Directory, emit: Emit) -> None:
        if not directory.dirty:
            return
        rows: dict[bytes, bytes | None] = {}
        emptied = []
        for name, child in directory.children.items():
            if not child.dirty:
                continue
            self._write(child, emit)
            if child.keys:
                rows[name + b"/"] = row(TREE_MODE, name, child.oid)
            else:
                rows[name + b"/"] = None
                emptied.append(name)
        directory.update(rows)
        for name in emptied:
            del directory.children[name]
        data = b"".join(directory.rows)
        directory.oid = object_id(Kind.TREE, data)
        directory.dirty = False
        emit(directory.oid, data)

    def _directory(self, parts: Sequence[bytes]) -> _Directory | None:
        """Return the directory that these parts of a path lead to, or None."""
        directory: _Directory | None = self._root
        for part in parts:
            if directory is None:
                return None
            directory = self._child(directory, part)
        return directory

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
            path = self._first_file(child, base + name + b"/", leaving) if child else None
            if path:
                return path
        return None
