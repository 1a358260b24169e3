"""Merging a changeset onto a tree that it was not submitted for: what a rebase takes, and where it collides."""

from __future__ import annotations

from dataclasses import dataclass, field

from storage.decide import Conflict, Rejection, Taken, decide
from storage.edit import TreeEditor
from storage.fsck import fit_to_stand
from storage.ids import ObjectId
from storage.manifest import Changeset
from storage.objects import EMPTY_TREE, Kind, object_id
from storage.packs import Location, Place
from storage.repository import Repository
from storage.seen import Seen
from storage.threeway import ConflictClass


@dataclass(slots=True)
class Remerge:
    """One changeset's merge with a tree."""

    repo: Repository
    changeset: Changeset
    seen: Seen  # what its writer saw at its paths
    merged: dict[ObjectId, bytes] = field(default_factory=dict)
    _own: dict[ObjectId, Place] = field(init=False)  # where the changeset's pack has what it brought

    def __post_init__(self) -> None:
        """Note what the changeset brought."""
        self._own = {change.oid: change.place for change in self.changeset.changes if change.oid and change.place}

    def onto(self, root: ObjectId) -> Taken | list[Conflict] | Rejection:
        """Return what `root` would take of the changeset, or what collides.

        Raises ObjectMissing, MergerFailed and BucketError.
        """
        seen = TreeEditor(self.repo.objects.tree, EMPTY_TREE)
        for path, version in self.seen.versions.items():
            if version is not None:
                seen.put(path, version)
        return decide(self.changeset, seen, TreeEditor(self.repo.objects.tree, root), self._merge_file)

    def brings(self, oid: ObjectId) -> bool:
        """Tell whether a blob is of this merge, of the changeset's own pack, or of the stack that it stands on."""
        return oid in self._own or oid in self.merged or oid in self.seen.places

    def content(self, oid: ObjectId) -> bytes:
        """Return a blob: merged here, submitted by the changeset, or stored. Raises ObjectMissing and BucketError."""
        if oid in self.merged:
            return self.merged[oid]
        if oid in self._own:
            return self.repo.objects.blob(oid, Location(self.changeset.pack, self._own[oid]))
        return self.repo.objects.blob(oid, self.seen.places.get(oid))

    def _merge_file(
        self, path: bytes, base: ObjectId | None, head: ObjectId, submitted: ObjectId
    ) -> ObjectId | ConflictClass:
        content = self.repo.merges((base, head, submitted), self.content)
        if isinstance(content, ConflictClass):
            return content
        if not fit_to_stand(path, content):
            return ConflictClass.CONTENT
        oid = object_id(Kind.BLOB, content)
        self.merged[oid] = content
        return oid
