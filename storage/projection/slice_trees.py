"""Trees reduced to a slice's paths, and the objects that are new in a tree. Pure, given a reader of trees.

The cost follows the directories that changed. A reduced directory is remembered with the one that it was made of, so
that where the next commit has the same one there, nothing below it is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from storage.base.batched import batched
from storage.base.ids import ObjectId
from storage.git.objects import EMPTY_TREE, SUBMODULE_MODE, TREE_MODE, Kind, Tree, object_id, row, version_of
from storage.git.trees import ReadTrees, covers

# Pairs of directories that are compared at once: of each pair, two trees are held.
_TOGETHER = 64


@dataclass(slots=True)
class _Part:
    """A directory of which a slice has parts; and what was made of it last."""

    whole: set[bytes] = field(default_factory=set)  # keys of rows that belong to it; `name/` is a directory
    below: dict[bytes, _Part] = field(default_factory=dict)  # directories that it has parts of
    source: ObjectId | None = None
    reduced: ObjectId = EMPTY_TREE
    tree: Tree = field(default_factory=lambda: Tree([], []))  # that of `reduced`
    _keys: list[bytes] | None = None

    @property
    def keys(self) -> list[bytes]:
        """Keys of all rows that may matter, in Git's order."""
        if self._keys is None:
            self._keys = sorted(self.whole | {name + b"/" for name in self.below})
        return self._keys


class SliceTrees:
    """Reduces one root after another. Not safe for threads; what it remembers is as much as one root's."""

    def __init__(self, paths: Iterable[bytes]) -> None:
        """Take a slice's paths: directories with a slash at the end, files, or `/`."""
        self.paths = frozenset(paths)
        self._root: _Part | None = _Part()
        for path in self.paths:
            if path == b"/":
                self._root = None
                return
            *above, last = path.removesuffix(b"/").split(b"/")
            node = self._root
            for part in above:
                node = node.below.setdefault(part, _Part())
            node.whole.add(last + b"/" if path.endswith(b"/") else last)

    def reduce(self, read: ReadTrees, root: ObjectId) -> ObjectId:
        """Return the tree of the slice's paths below a root, with whole directories as they are."""
        return root if self._root is None else _reduce(read, root, self._root)

    def made(self) -> dict[ObjectId, Tree]:
        """Return the trees that stand in no repository but that of the slice: those that `reduce` made last."""
        trees = {EMPTY_TREE: Tree([], [])}
        nodes = [self._root] if self._root else []
        while nodes:
            node = nodes.pop()
            if node.source is not None:
                trees[node.reduced] = node.tree
                nodes += node.below.values()
        return trees


def _reduce(read: ReadTrees, oid: ObjectId, node: _Part) -> ObjectId:
    if node.source == oid:
        return node.reduced
    tree = read([oid])[oid]
    keys, rows = [], []
    for key in node.keys:
        i = tree.find_key(key)
        name = key.removesuffix(b"/")
        below = node.below.get(name) if key != name and key not in node.whole else None
        if i < 0:
            if below is not None:
                _forget(below)
            continue
        whole = tree.rows[i]
        if below is not None:
            inside = _reduce(read, ObjectId(whole[-20:]), below)
            if inside == EMPTY_TREE:
                continue
            whole = row(TREE_MODE, name, inside)
        keys.append(key)
        rows.append(whole)
    node.source, node.tree = oid, Tree(keys, rows)
    node.reduced = object_id(Kind.TREE, node.tree.encode())
    return node.reduced


def _forget(node: _Part) -> None:
    """Forget what was made of a directory that is not there: its trees are none of the root's."""
    node.source = None
    for below in node.below.values():
        _forget(below)


class Added(NamedTuple):
    """What one tree has and another has not."""

    trees: dict[ObjectId, Tree]
    blobs: dict[ObjectId, None]


def added(read: ReadTrees, old: ObjectId, new: ObjectId) -> Added:
    """Return the trees and blobs of `new` that do not stand at the same place in `old`.

    All that `new` needs is among them or in `old`. Equal directories are never read; the others a level at a time.
    """
    found = Added({}, {})
    level = [(old, new)] if old != new else []
    while level:
        below: list[tuple[ObjectId, ObjectId]] = []
        for some in batched(level, _TOGETHER):
            trees = read(list(dict.fromkeys(oid for pair in some for oid in pair)))
            for was, now in some:
                if now not in found.trees:
                    found.trees[now] = trees[now]
                    below += _compare(trees[was], trees[now], found.blobs)
        level = below
    return found


def _compare(was: Tree, now: Tree, blobs: dict[ObjectId, None]) -> Iterator[tuple[ObjectId, ObjectId]]:
    """Note the blobs of `now` that are new there, and yield the directories that differ, each with the older one."""
    start = _common(was.rows, now.rows)
    end = _common(was.rows[start:][::-1], now.rows[start:][::-1])
    before = set(was.rows[start : len(was.rows) - end])
    for i in range(start, len(now.rows) - end):
        whole = now.rows[i]
        if whole in before:
            continue
        version = version_of(whole)
        if version.is_tree:
            older = was.find_key(now.keys[i])
            yield EMPTY_TREE if older < 0 else ObjectId(was.rows[older][-20:]), version.oid
        elif version.mode != SUBMODULE_MODE:
            blobs[version.oid] = None


def _common(a: Sequence[bytes], b: Sequence[bytes]) -> int:
    """Return how many rows two lists have in common at their beginning: lists are compared faster than rows."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def grows(old: Iterable[bytes], new: frozenset[bytes]) -> bool:
    """Tell whether a slice with the paths `new` has all that one with the paths `old` has."""
    return all(covers(new, path) for path in old)


def on_top(read: ReadTrees, own: Mapping[ObjectId, Tree]) -> ReadTrees:
    """Return a reader that knows these trees, too."""

    def read_both(oids: Sequence[ObjectId]) -> Mapping[ObjectId, Tree]:
        rest = [oid for oid in oids if oid not in own]
        found = dict(read(rest)) if rest else {}
        return found | {oid: own[oid] for oid in oids if oid in own}

    return read_both
