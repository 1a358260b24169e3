"""The objects of a projection's next commits: read from the bucket, and packed for a clone store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from storage.base.batched import batched, batched_by_size
from storage.base.ids import ObjectId
from storage.clones.id_table import Row
from storage.git.objects import EMPTY_TREE, CorruptObject, Kind, TagObject, Tree, object_id
from storage.git.packs import Location, PackWriter
from storage.lookup.object_store import ObjectMissing, ObjectStore
from storage.projection import commits
from storage.projection.commits import Said
from storage.projection.follow import Imported, Landed, Published, Redefined, Step, Tagged
from storage.projection.slice_trees import SliceTrees, added, on_top

# Bytes of contents that are held at once, unless one file alone has more; each pack of a larger step has so many.
_PACK_BYTES = 32 << 20
# Ids that are located at once.
_TOGETHER = 2048
# Commits whose directories are read ahead together: of each, one tree a level.
_AHEAD = 32


@dataclass(slots=True)
class Projector:
    """Makes the commits of one clone store, one step after another. Not safe for threads.

    `trees` is None for the whole, whose commits are the chain's own.
    """

    objects: ObjectStore
    trees: SliceTrees | None
    last: ObjectId | None = None  # the newest commit of the store
    root: ObjectId = EMPTY_TREE  # its tree
    main: ObjectId | None = None  # of the whole: the newest global commit, if there came one
    rows: list[Row] = field(default_factory=list)
    # What the next pack has to bring: commits and trees, and the blobs that they need.
    made: dict[ObjectId, tuple[Kind, bytes]] = field(default_factory=dict)
    blobs: dict[ObjectId, None] = field(default_factory=dict)
    size: int = 0  # bytes of `made`
    tags: dict[str, ObjectId | None] = field(default_factory=dict)  # that were made, moved or deleted (None)

    def resume(self, row: Row | None) -> None:
        """Go on behind the newest row of the store."""
        if row is not None:
            tree, _ = self._commit(row.chain)
            self.last = row.own
            self.root = self.trees.reduce(self._read, tree) if self.trees else tree

    def take(self, steps: Sequence[Step]) -> None:
        """Take the next steps; who has an import goes on behind it with `resume`.

        Raises ObjectMissing, Corrupt and Unavailable.
        """
        for some in batched(steps, _AHEAD):
            self._read_ahead(some)
            for step in some:
                if isinstance(step, Tagged):
                    self._tag(step)
                elif isinstance(step, Published):
                    self.main = step.commit
                    self._make(step.commit, Kind.COMMIT, self._data(step.commit))
                elif not isinstance(step, Imported):
                    self._take(step)

    def packs(self) -> Iterator[bytes]:
        """Yield the packs that the store needs for what was taken since the last call; contents come first."""
        writer = PackWriter()
        for some in batched(list(self.blobs), _TOGETHER):
            for group in batched_by_size(self._located(some), lambda pair: pair[1].range.length, _PACK_BYTES):
                if writer.size + sum(location.range.length for _, location in group) > _PACK_BYTES and len(writer):
                    yield writer.finish()
                    writer = PackWriter()
                for oid, data in self.objects.whole_many(group).items():
                    writer.add_encoded(oid, data, 0)
        if writer.size + self.size > _PACK_BYTES and len(writer):
            yield writer.finish()
            writer = PackWriter()
        for oid, (kind, data) in self.made.items():
            writer.add(kind, data, oid, 1)
        if len(writer):
            yield writer.finish()

    def _located(self, oids: Sequence[ObjectId]) -> list[tuple[ObjectId, Location]]:
        located = []
        for oid, location in zip(oids, self.objects.locate(oids), strict=True):
            if location is None:
                raise ObjectMissing(oid.hex())
            located.append((oid, location))
        return located

    def taken(self) -> list[Row]:
        """Return the rows of what was taken since the last call, and forget what the store has by now."""
        rows, self.rows, self.made, self.blobs, self.size, self.tags = self.rows, [], {}, {}, 0, {}
        return rows

    def _read(self, oids: Sequence[ObjectId]) -> Mapping[ObjectId, Tree]:
        return self.objects.trees(oids)

    def _commit(self, oid: ObjectId) -> tuple[ObjectId, Said]:
        return commits.read(self._data(oid))

    def _data(self, oid: ObjectId) -> bytes:
        kind, data = self.objects.read(oid)
        if kind != Kind.COMMIT:
            raise CorruptObject(f"{oid.hex()} is no commit")
        return data

    def _read_ahead(self, steps: Sequence[Step]) -> None:
        """Have the commits of these steps in memory, and the directories on the paths that they change."""
        landed = [step for step in steps if isinstance(step, Landed)]
        self.objects.prefetch(step.commit for step in steps if not isinstance(step, Tagged))
        level: dict[ObjectId, list[bytes]] = {}
        for step in landed:
            level.setdefault(self._commit(step.commit)[0], []).extend(step.paths)
        while level:
            below: dict[ObjectId, list[bytes]] = {}
            for oid, tree in self.objects.trees(list(level)).items():
                for path in level[oid]:
                    name, _, rest = path.partition(b"/")
                    i = tree.find_key(name + b"/") if rest else -1
                    if i >= 0:
                        below.setdefault(ObjectId(tree.rows[i][-20:]), []).append(rest)
            level = below

    def _tag(self, step: Tagged) -> None:
        """Take tags, with the tag objects that they name; what those name in the end has landed."""
        self.tags.update(step.tags)
        left = [oid for _, oid in step.tags if oid is not None]
        while left:
            oid = left.pop()
            kind, data = self.objects.read(oid)
            if kind == Kind.TAG and oid not in self.made:
                self._make(oid, kind, data)
                left.append(TagObject.parse(data).target)

    def _take(self, step: Landed | Redefined) -> None:
        data = self._data(step.commit)
        tree, said = commits.read(data)
        before = on_top(self._read, self.trees.made()) if self.trees else self._read
        if self.trees and isinstance(step, Redefined):
            self.trees = SliceTrees(step.paths)
        root = self.trees.reduce(self._read, tree) if self.trees else tree
        if self.trees and root == self.root:
            return
        after = on_top(before, self.trees.made()) if self.trees else self._read
        new = added(after, self.root, root)
        for oid, each in new.trees.items():
            self._make(oid, Kind.TREE, each.encode())
        if root == EMPTY_TREE:
            self._make(EMPTY_TREE, Kind.TREE, b"")
        self.blobs.update(new.blobs)
        if self.trees:
            data = self._written(step, root, said)
        self.last, self.root = object_id(Kind.COMMIT, data), root
        self._make(self.last, Kind.COMMIT, data)
        self.rows.append(Row(step.position, step.commit, self.last, isinstance(step, Redefined)))

    def _written(self, step: Landed | Redefined, root: ObjectId, said: Said) -> bytes:
        parents = [self.last] if self.last else []
        if isinstance(step, Redefined):
            return commits.defined(root, parents, said, step.time)
        if not step.is_whole:
            return commits.part(root, parents, said)
        return commits.projected(root, parents, said, step.pushed)

    def _make(self, oid: ObjectId, kind: Kind, data: bytes) -> None:
        if oid not in self.made:
            self.made[oid] = kind, data
            self.size += len(data)
