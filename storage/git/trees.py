"""Reading trees: look-up, walk from a cursor, diff, and the projection of a slice. Pure, given a reader of trees.

Every function takes `read`, which returns a Tree for an id; its cost is the trees that it reads. Reading a tree may
mean fetching and parsing megabytes, so no function reads a directory twice, however many paths it gets.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from storage.base.ids import ObjectId
from storage.git.objects import EMPTY_TREE, TREE_MODE, Kind, Tree, Version, object_id, row, version_of

ReadTree = Callable[[ObjectId], Tree]

ReadTrees = Callable[[Sequence[ObjectId]], Mapping[ObjectId, Tree]]
"""Returns several trees, which it reads together."""

# Directories that `runs` reads at once, at most; and how many rows it holds that are still to be yielded, about.
_DIRECTORIES_AHEAD = 64
_ROWS_AHEAD = 1 << 16


def lookup(read: ReadTree, root: ObjectId, path: bytes) -> Version | None:
    """Return what stands at `path` below `root`, or None. Reads a tree for each part of the path."""
    version: Version | None = Version(TREE_MODE, root)
    for part in path.split(b"/"):
        if version is None or not version.is_tree:
            return None
        version = read(version.oid).get(part)
    return version


def lookup_many(read: ReadTree, root: ObjectId, paths: Iterable[bytes]) -> dict[bytes, Version | None]:
    """Return what `lookup` returns for each of these paths.

    Reads each directory on their way once, and holds one at a time: the cost is that of the directories plus that of
    the paths, not their product.
    """
    versions: dict[bytes, Version | None] = {}
    # Directories that are still to be read: what each is, where its path ends, and the paths below it.
    left = [(root, 0, list(dict.fromkeys(paths)))]
    while left:
        oid, start, below = left.pop()
        left += _step(read(oid), start, below, versions) if below else []
    return versions


def sizes(read: ReadTree, root: ObjectId, paths: Iterable[bytes]) -> dict[bytes, int]:
    """Return each directory's bytes on the way to these paths, by `a/b/`; the root's is empty. Reads each once."""
    by_directory: dict[bytes, int] = {}
    # Many paths are in few directories, and what the files are is not asked.
    left = [(root, 0, list(dict.fromkeys(path[: path.rfind(b"/") + 1] for path in paths)))]
    while left:
        oid, start, below = left.pop()
        if below:
            tree = read(oid)
            by_directory[below[0][:start]] = tree.size
            left += _step(tree, start, below, {})
    return by_directory


def _step(
    tree: Tree, start: int, paths: Iterable[bytes], versions: dict[bytes, Version | None]
) -> list[tuple[ObjectId, int, list[bytes]]]:
    """Look up the parts of `paths` that begin at `start` in `tree`; return the directories that are to be read next."""
    inside: dict[bytes, list[bytes]] = {}
    for path in paths:
        end = path.find(b"/", start)
        if end < 0:
            versions[path] = tree.get(path[start:])
        else:
            inside.setdefault(path[start:end], []).append(path)
    following = []
    for name, some in inside.items():
        version = tree.get(name)
        if version is not None and version.is_tree:
            following.append((version.oid, start + len(name) + 1, some))
        else:
            versions.update(dict.fromkeys(some))
    return following


def walk(read: ReadTree, root: ObjectId, after: bytes = b"", prefix: bytes = b"") -> Iterator[tuple[bytes, Version]]:
    """Yield the files below `root` in Git's order, those behind the path `after` and below the directory `prefix`.

    `prefix` is empty or ends with `/`. Reads only trees on the way to `after` and those behind it that are consumed,
    so a page costs the same wherever it begins.
    """
    if prefix:
        version = lookup(read, root, prefix[:-1])
        if version is None or not version.is_tree:
            return
        root = version.oid
    yield from _walk(read, root, after, prefix)


def _walk(read: ReadTree, oid: ObjectId, after: bytes, base: bytes) -> Iterator[tuple[bytes, Version]]:
    tree = read(oid)
    for i in range(_first_behind(tree.keys, after, base), len(tree.keys)):
        path, version = base + tree.keys[i], version_of(tree.rows[i])
        if version.is_tree:
            yield from _walk(read, version.oid, after, path)
        elif path > after:
            yield path, version


def _first_behind(keys: Sequence[bytes], after: bytes, base: bytes) -> int:
    """Return the position of the first row of the directory `base` at which something behind `after` may stand.

    That may be a directory that holds `after`; those that end before it are not even read. Costs the same wherever
    the page begins in the directory.
    """
    if not after.startswith(base):
        return len(keys) if base < after else 0
    rest = after[len(base) :]
    i = bisect_right(keys, rest)
    return i - 1 if i and keys[i - 1].endswith(b"/") and rest.startswith(keys[i - 1]) else i


class Run(NamedTuple):
    """Files that follow one another in a directory: the rows of its tree from `start` up to `end`."""

    base: bytes  # the directory's path: empty, or with a slash at its end
    tree: Tree
    start: int
    end: int

    @property
    def rows(self) -> list[bytes]:
        """The rows of the files; each has a mode of six digits, as all but a directory's have."""
        return self.tree.rows[self.start : self.end]


def runs(read: ReadTrees, root: ObjectId, after: bytes = b"", prefix: bytes = b"") -> Iterator[Run]:
    """Yield the files that `walk` yields, in runs, for who wants all of them.

    Directories are read together, ahead of their turn: the first few one by one, and then as many as have
    `_ROWS_AHEAD` rows.
    """
    if prefix:
        version = lookup(lambda oid: read([oid])[oid], root, prefix[:-1])
        if version is None or not version.is_tree:
            return
        root = version.oid
    left: list[Run | tuple[bytes, ObjectId]] = [(prefix, root)]  # the next one last
    together, held = 1, 0
    while left:
        item = left.pop()
        if isinstance(item, Run):
            held -= item.end - item.start
            yield item
            continue
        left.append(item)
        opened, rows = _open_directories(read, left, after, 1 if held > _ROWS_AHEAD else together)
        held += rows
        together = max(1, min(2 * together, _DIRECTORIES_AHEAD, _ROWS_AHEAD * opened // max(1, rows)))


def _open_directories(
    read: ReadTrees, left: list[Run | tuple[bytes, ObjectId]], after: bytes, together: int
) -> tuple[int, int]:
    """Put what is in the next directories in their place; return how many these are, and their files."""
    positions: list[int] = []
    for i in range(len(left) - 1, max(-1, len(left) - 1 - 4 * together), -1):
        if not isinstance(left[i], Run):
            positions.append(i)
            if len(positions) == together:
                break
    directories = [item for i in positions if not isinstance(item := left[i], Run)]
    trees = read([oid for _, oid in directories])
    files = 0
    # From the last position on, so that the others stay.
    for i, (base, oid) in zip(positions, directories, strict=True):
        items = list(_items_of(base, trees[oid], after))
        files += sum(item.end - item.start for item in items if isinstance(item, Run))
        left[i : i + 1] = reversed(items)
    return len(positions), files


def _items_of(base: bytes, tree: Tree, after: bytes) -> Iterator[Run | tuple[bytes, ObjectId]]:
    """Yield the runs of files and the directories of a directory behind `after`."""
    keys = tree.keys
    start = _first_behind(keys, after, base)
    for i in range(start, len(keys)):
        if keys[i].endswith(b"/"):
            if start < i:
                yield Run(base, tree, start, i)
            yield base + keys[i], ObjectId(tree.rows[i][-20:])
            start = i + 1
    if start < len(keys):
        yield Run(base, tree, start, len(keys))


Change = tuple[bytes, Version | None, Version | None]
"""A path with the versions in the old and the new tree; None where it is absent."""


def diff(read: ReadTree, old: ObjectId, new: ObjectId) -> Iterator[Change]:
    """Yield the files that differ between two trees, in the order of their directories' reading.

    Compares the rows of two trees as sets, so equal subtrees are never read. It shares no code with the tree editor, so
    that `prove` can check the editor's result with it.
    """
    yield from _diff(read, Version(TREE_MODE, old), Version(TREE_MODE, new), b"")


def _diff(read: ReadTree, old: Version | None, new: Version | None, base: bytes) -> Iterator[Change]:
    old_rows = read(old.oid).rows if old else []
    new_rows = read(new.oid).rows if new else []
    common = set(old_rows).intersection(new_rows)
    before = dict(_named(r) for r in old_rows if r not in common)
    after = dict(_named(r) for r in new_rows if r not in common)
    for name in sorted(before.keys() | after.keys()):
        was, now, path = before.get(name), after.get(name), base + name
        if was == now:
            continue  # only the mode is written otherwise, as in trees of old programs
        was_tree = was if was and was.is_tree else None
        now_tree = now if now and now.is_tree else None
        if was_tree or now_tree:
            yield from _diff(read, was_tree, now_tree, path + b"/")
        was_file = None if was_tree else was
        now_file = None if now_tree else now
        if was_file != now_file:
            yield path, was_file, now_file


def _named(whole: bytes) -> tuple[bytes, Version]:
    return whole[whole.index(b" ") + 1 : -21], version_of(whole)


def version_rows(tree: Tree) -> dict[bytes, Version]:
    """Return what stands in a tree, by name."""
    return dict(map(_named, tree.rows))


def covers(paths: Collection[bytes], path: bytes) -> bool:
    """Tell whether a slice with these paths holds the file `path`; `/` holds everything, `a/` all below a.

    Costs the parts of the path, not the number of the slice's paths, when `paths` is a set.
    """
    if b"/" in paths or path in paths:
        return True
    end = path.find(b"/") + 1
    while end:
        if path[:end] in paths:
            return True
        end = path.find(b"/", end) + 1
    return False


def holders(path: bytes) -> list[bytes]:
    """Return the slice paths that would hold the file `path`: `/`, each directory above it, and itself."""
    parts = path.split(b"/")
    directories = [b"/".join(parts[:i]) + b"/" for i in range(1, len(parts))]
    return [b"/", *directories, path]


def project(read: ReadTree, root: ObjectId, paths: Iterable[bytes]) -> tuple[ObjectId, dict[ObjectId, Tree]]:
    """Return the tree of a slice's paths, with directories grafted whole, and the new trees above them."""
    wanted = _Wanted(set(), {})
    for path in paths:
        if path == b"/":
            return root, {}
        *above, last = path.removesuffix(b"/").split(b"/")
        node = wanted
        for part in above:
            node = node.below.setdefault(part, _Wanted(set(), {}))
        node.whole.add(last + b"/" if path.endswith(b"/") else last)
    made: dict[ObjectId, Tree] = {}
    return _project(read, root, wanted, made), made


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a slice has of one directory."""

    whole: set[bytes]  # keys of rows that belong to it
    below: dict[bytes, _Wanted]  # directories that it has parts of


def _project(read: ReadTree, oid: ObjectId, wanted: _Wanted, made: dict[ObjectId, Tree]) -> ObjectId:
    tree = read(oid)
    keys, rows = [], []
    for key, whole in zip(tree.keys, tree.rows, strict=True):
        name = key.removesuffix(b"/")
        if key in wanted.whole:
            keys.append(key)
            rows.append(whole)
        elif key != name and name in wanted.below:
            below = _project(read, version_of(whole).oid, wanted.below[name], made)
            if below != EMPTY_TREE:
                keys.append(key)
                rows.append(row(TREE_MODE, name, below))
    projected = Tree(keys, rows)
    new = object_id(Kind.TREE, projected.encode())
    made[new] = projected
    return new
