"""Reading Git objects by id: from this process, from Redis, or from the pack in the bucket that has them.

All three levels have only content-addressed objects, so no copy can be wrong; they are limited in bytes or by time.
Trees are cached parsed, whatever their size, as long as several of them fit: large directories cost most to read.
"""

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from cachetools import LRUCache

from storage.backends import deadline
from storage.backends.bucket import Bucket, BucketError
from storage.backends.ranges import Range
from storage.backends.turns import breathe, in_thread_if_large
from storage.base.batched import batched, batched_by_size
from storage.base.errors import Corrupt
from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.git.imported.deltas import is_delta
from storage.git.objects import EMPTY_TREE, Commit, CorruptObject, Kind, Tree, object_id
from storage.git.packs import Location, encode
from storage.lookup.archive import Archive
from storage.lookup.deltified import contents
from storage.lookup.shared_cache import SharedCache
from storage.view.view import View

# Larger contents are not worth a place that many small ones could have, nor are larger objects of any kind in Redis.
_LARGEST_CACHED = 1 << 20
# A parsed tree may take this part of the cache; a larger one is read again by each batch or request.
_SHARE_OF_A_TREE = 4
# What is asked of Redis at once, and read from the bucket at once unless one object alone has more: of each there are
# copies until all are kept.
_COPIES_TOGETHER = 64
_BYTES_TOGETHER = 16 << 20
# What an object takes beside them: its id, its entry in the cache and in the cache's order, about.
_ENTRY_BYTES = 400
_MAX_COMMITS = 1024
# What is stored of a commit has no more bytes, or twice those of the longest message.
_LARGEST_COMMIT = 1 << 20
_NOTHING_PARSED: Mapping[ObjectId, Tree] = {}


class ObjectMissing(Corrupt):
    """No object of that id is stored."""


class ObjectStore:
    """All objects that the log names. Safe for threads."""

    def __init__(self, settings: Settings, bucket: Bucket, view: View, archive: Archive) -> None:
        self._bucket = bucket
        self._archive = archive
        self._view = view
        self._shared = SharedCache(settings, view)
        self.drop_copies = self._shared.drop
        self._cache: LRUCache[ObjectId, Any] = LRUCache(settings.cache_bytes, getsizeof=lambda item: item[1])
        # A batch's changesets mostly have one commit as their base; parsing it took a tenth of the batch's time.
        self._commits: LRUCache[ObjectId, Commit] = LRUCache(_MAX_COMMITS)
        self._largest_commit = max(_LARGEST_COMMIT, 2 * settings.max_message_bytes)
        self._lock = threading.Lock()
        self._keep(EMPTY_TREE, Kind.TREE, b"")

    def tree(self, oid: ObjectId) -> Tree:
        """Return a tree, parsed.

        Raises ObjectMissing, CorruptObject where it is no tree, BucketError; and Spent, since who reads many trees that
        are here already may well spend a budget without any call.
        """
        deadline.left()
        item = self._item(oid)
        if not isinstance(item, Tree):
            raise CorruptObject(f"{oid.hex()} is no tree")
        return item

    def trees(self, oids: Sequence[ObjectId]) -> dict[ObjectId, Tree]:
        """Return trees, read together: few looks in Redis, then the bucket, many at once. Raises as `tree` does."""
        deadline.left()
        trees = {}
        for oid, item in self._items(oids):
            trees[oid] = item
            breathe()  # one may take long to parse
        for oid in oids:
            if oid not in trees:
                raise ObjectMissing(oid.hex())
            if not isinstance(trees[oid], Tree):
                raise CorruptObject(f"{oid.hex()} is no tree")
        return trees

    def commit(self, oid: ObjectId) -> Commit:
        """Return a commit, parsed. Raises ObjectMissing, CorruptObject where it is none of ours, and BucketError."""
        with self._lock:
            parsed = self._commits.get(oid)
        if parsed is None:
            item = self._cached(oid)
            if item is None:
                [(_, item)] = self._load([oid], most=self._largest_commit)
            if isinstance(item, Tree) or item[0] != Kind.COMMIT:
                raise CorruptObject(f"{oid.hex()} is no commit")
            parsed = Commit.parse(item[1])
            with self._lock:
                self._commits[oid] = parsed
        return parsed

    def commit_tree(self, oid: ObjectId) -> ObjectId | None:
        """Return the root tree of a commit, None where there is no such commit. Raises BucketError."""
        try:
            return self.commit(oid).tree
        except (ObjectMissing, CorruptObject):
            return None

    def read(self, oid: ObjectId) -> tuple[Kind, bytes]:
        """Return an object's kind and bytes. Raises ObjectMissing, CorruptObject and BucketError."""
        item = self._item(oid)
        return (Kind.TREE, item.encode()) if isinstance(item, Tree) else item

    def blob(self, oid: ObjectId, location: Location | None = None) -> bytes:
        """Return a blob's bytes; `location` is where a blob stands that no entry names yet.

        Raises ObjectMissing where no blob of that id is stored, be it that another kind of object is; CorruptObject and
        BucketError.
        """
        item = self._cached(oid)
        if item is None and location is not None:
            kind, data = self._fetch(oid, location)
            if in_thread_if_large(partial(object_id, kind), data) != oid:
                raise CorruptObject(f"the bytes stored as {oid.hex()} are another object")
            item = self._keep(oid, kind, data)
        if item is None:
            item = self.read(oid)
        if isinstance(item, Tree) or item[0] != Kind.BLOB:
            # An id that a writer gave may be any object's: it is no content that anybody could have seen.
            raise ObjectMissing(f"{oid.hex()} is no blob")
        return bytes(item[1])

    def prefetch(self, oids: Iterable[ObjectId], most: int = sys.maxsize) -> None:
        """Have these objects in this process, those that exist: few looks in Redis, then the bucket, many at once.

        Ends early where they have more than `most` bytes.
        """
        size = 0
        for _, item in self._items(oids):
            size += item.size if isinstance(item, Tree) else len(item[1])
            if size > most:
                break

    def prefetch_paths(self, root: ObjectId, paths: Sequence[bytes]) -> None:
        """Have every tree on these paths in this process: a round of reads for each level, not for each path.

        Ends early where they are half of what the cache may hold: more would only put out what was read first.
        """
        # Many paths are in few directories.
        directories = dict.fromkeys(path[: path.rfind(b"/") + 1] for path in paths)
        level: dict[ObjectId, list[list[bytes]]] = {root: [path.split(b"/")[:-1] for path in directories]}
        memory = 0
        while level:
            below: dict[ObjectId, list[list[bytes]]] = {}
            for oid, tree in self._items(level):
                if not isinstance(tree, Tree):
                    continue
                memory += tree.memory
                if memory > self._cache.maxsize // 2:
                    return
                for rest in level[oid]:
                    version = tree.get(rest[0]) if rest else None
                    if version is not None and version.is_tree:
                        below.setdefault(version.oid, []).append(rest[1:])
            level = below

    def _items(self, oids: Iterable[ObjectId]) -> Iterator[tuple[ObjectId, Any]]:
        """Yield these objects, in any order; those that exist."""
        missing = []
        for oid in dict.fromkeys(oids):
            item = self._cached(oid)
            if item is None:
                missing.append(oid)
            else:
                yield oid, item
        if missing:
            yield from self._load(missing, tolerant=True)

    def keep(
        self,
        wanted: Iterable[ObjectId],
        objects: Mapping[ObjectId, tuple[Kind, bytes]],
        parsed: Mapping[ObjectId, Tree] = _NOTHING_PARSED,
    ) -> None:
        """Have new objects, `wanted` ones and the trees below, in this process, which reads them soon, and in Redis.

        `parsed` are trees of these, as far as somebody has read them already.
        """
        left, kept = list(wanted), {}
        while left:
            oid = left.pop()
            if oid in objects and oid not in kept:
                kept[oid] = objects[oid]
                item = self._keep(oid, *objects[oid], parsed.get(oid))
                left += item.directories() if isinstance(item, Tree) else []
        self.share(kept)

    def share(self, objects: Mapping[ObjectId, tuple[Kind, bytes]]) -> None:
        """Put objects where all processes find them without the bucket."""
        small = {oid: item for oid, item in objects.items() if len(item[1]) <= _LARGEST_CACHED}
        self._shared.put((oid, bytes([kind]) + data) for oid, (kind, data) in small.items())

    def locate(self, oids: Sequence[ObjectId]) -> list[Location | None]:
        """Return where objects are stored, None for those that are not. Raises Unavailable."""
        locations = self._view.locate(oids)
        forgotten = [oid for oid, location in zip(oids, locations, strict=True) if location is None]
        if not forgotten:
            return locations
        archived = dict(zip(forgotten, self._archive.locate(forgotten), strict=True))
        return [location or archived[oid] for oid, location in zip(oids, locations, strict=True)]

    def _item(self, oid: ObjectId) -> Any:
        item = self._cached(oid)
        if item is None:
            [(_, item)] = self._load([oid])
        return item

    def _load(
        self, oids: Sequence[ObjectId], tolerant: bool = False, most: int | None = None
    ) -> Iterator[tuple[ObjectId, Any]]:
        """Yield these objects, in any order, having kept them; those that exist where `tolerant`."""
        wanted = []
        for some in batched(oids, _COPIES_TOGETHER):
            for oid, copy in zip(some, self._shared.get(some), strict=True):
                if copy:
                    yield oid, self._keep(oid, Kind(copy[0]), copy[1:])
                else:
                    wanted.append(oid)
        if not wanted:
            return
        locations = self.locate(wanted)
        if None in locations and not tolerant:
            raise ObjectMissing(wanted[locations.index(None)].hex())
        for oid, location in zip(wanted, locations, strict=True):
            if location is not None and most is not None and max(location.range[1:]) > most:
                raise CorruptObject(f"{oid.hex()} is too large for what it should be")
        located = [(oid, location) for oid, location in zip(wanted, locations, strict=True) if location]
        for group in batched_by_size(located, lambda pair: pair[1].weight, _BYTES_TOGETHER):
            yield from self._load_stored(group)

    def _load_stored(self, group: Sequence[tuple[ObjectId, Location]]) -> Iterator[tuple[ObjectId, Any]]:
        fresh = {}
        for oid, item in self._contents(self.stored_many(group)):
            if in_thread_if_large(partial(object_id, item[0]), item[1]) != oid:
                raise CorruptObject(f"the bytes stored as {oid.hex()} are another object")
            fresh[oid] = item
        self.share({oid: item for oid, item in fresh.items() if item[0] != Kind.BLOB})
        for oid, item in fresh.items():
            yield oid, self._keep(oid, *item)

    def _fetch(self, oid: ObjectId, location: Location) -> tuple[Kind, bytes]:
        [(_, item)] = self._contents(self.stored_many([(oid, location)]))
        return item

    def _contents(self, stored: Mapping[ObjectId, bytes]) -> Iterator[tuple[ObjectId, tuple[Kind, bytes]]]:
        """Yield what stored objects contain. Raises CorruptObject, ObjectMissing and BucketError."""

        def fetch(oids: Sequence[ObjectId]) -> dict[ObjectId, bytes]:
            locations = self.locate(oids)
            if None in locations:
                raise ObjectMissing(f"{oids[locations.index(None)].hex()}, on which others are based")
            return self.stored_many([(oid, at) for oid, at in zip(oids, locations, strict=True) if at])

        def known(oid: ObjectId) -> tuple[Kind, bytes] | None:
            item = self._cached(oid)
            return (Kind.TREE, item.encode()) if isinstance(item, Tree) else item

        return contents(stored, fetch, known)

    def whole_many(self, located: Sequence[tuple[ObjectId, Location]]) -> dict[ObjectId, bytes]:
        """Return objects as packs store them undeltified; neighbours are read together.

        Raises CorruptObject, ObjectMissing and BucketError.
        """
        stored = self.stored_many(located)
        if deltas := {oid: data for oid, data in stored.items() if is_delta(data)}:
            stored |= {oid: encode(*item) for oid, item in self._contents(deltas)}
        return stored

    def stored_many(
        self, located: Sequence[tuple[ObjectId, Location]], most: int | None = None
    ) -> dict[ObjectId, bytes]:
        """Return objects as their packs have them, as deltas too, or their first `most` bytes; neighbours together.

        Raises BucketError.
        """
        ranges = [_range(location, most) for _, location in located]
        read = zip(located, self._bucket.get_ranges(ranges), strict=True)
        stored = {oid: data for (oid, _), data in read if data is not None}
        if gone := [(oid, location) for oid, location in located if oid not in stored]:
            stored |= self._read_archived(gone, most)
        return stored

    def _read_archived(
        self, gone: Sequence[tuple[ObjectId, Location]], most: int | None = None
    ) -> dict[ObjectId, bytes]:
        """Return objects whose packs are gone: compacted, and deleted since they were located or written down.

        Raises BucketError.
        """
        archived = zip(gone, self._archive.locate([oid for oid, _ in gone]), strict=True)
        located = {oid: location for (oid, _), location in archived if location}
        read = self._bucket.get_ranges([_range(location, most) for location in located.values()])
        stored = {oid: data for oid, data in zip(located, read, strict=True) if data is not None}
        for oid, location in gone:
            if oid not in stored:
                # Of an older view, or away: that it is stored is known, so nobody may take it for something that never
                # was.
                raise BucketError(f"{oid.hex()} is listed in {location.pack}, which is gone")
        return stored

    def _cached(self, oid: ObjectId) -> Any:
        with self._lock:
            entry = self._cache.get(oid)
        return entry[0] if entry else None

    def _keep(self, oid: ObjectId, kind: Kind, data: bytes, parsed: Tree | None = None) -> Any:
        if kind == Kind.TREE:
            tree = parsed or Tree.parse(data)
            if tree.memory <= self._cache.maxsize // _SHARE_OF_A_TREE:
                self._put(oid, tree, tree.memory)
            return tree
        if len(data) <= _LARGEST_CACHED:
            self._put(oid, (kind, data), len(data))
        return kind, data

    def _put(self, oid: ObjectId, item: Any, memory: int) -> None:
        with self._lock:
            self._cache[oid] = (item, _ENTRY_BYTES + memory)


def _range(location: Location, most: int | None = None) -> Range:
    """Return where an object stands, or its first `most` bytes."""
    length = location.range.length
    return location.pack + ".pack", location.range.offset, length if most is None else min(most, length)
