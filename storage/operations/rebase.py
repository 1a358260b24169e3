"""Merging a changeset onto another tree than its base: the result of a rebase, or its conflicts."""

from __future__ import annotations

from dataclasses import dataclass, field

from storage.base.ids import ObjectId
from storage.commit.decide import Conflict, Rejection, Taken, decide
from storage.git.fsck import fit_to_stand
from storage.git.objects import EMPTY_TREE, Kind, object_id
from storage.git.packs import Location
from storage.git.threeway import ConflictClass
from storage.git.tree_editor import TreeEditor
from storage.log.manifest import Changeset
from storage.operations.seen import Seen
from storage.repository import Repository


@dataclass(slots=True)
class Remerge:
    """One changeset's merge with a tree."""

    repo: Repository
    changeset: Changeset
    seen: Seen  # what its writer saw at its paths
    merged: dict[ObjectId, bytes] = field(default_factory=dict)
    _submitted: dict[ObjectId, Location] = field(init=False)  # where contents stand that only its pack has

    def __post_init__(self) -> None:
        """Find the places of what it submitted, once for all its contents."""
        submission = self.changeset
        self._submitted = {
            each.oid: Location(submission.pack, each.place) for each in submission.changes if each.oid and each.place
        }

    def onto(self, root: ObjectId) -> Taken | list[Conflict] | Rejection:
        """Return what `root` would take of the changeset, or what collides.

        Raises ObjectMissing, MergerFailed and BucketError.
        """
        seen = TreeEditor(self.repo.objects.tree, EMPTY_TREE)
        seen.change({path: version for path, version in self.seen.versions.items() if version is not None})
        return decide(self.changeset, seen, TreeEditor(self.repo.objects.tree, root), self._merge_file)

    def brings(self, oid: ObjectId) -> bool:
        """Tell whether a blob is of this merge, of the changeset's own pack, or of the stack that it stands on."""
        return oid in self._submitted or oid in self.merged or oid in self.seen.places

    def content(self, oid: ObjectId) -> bytes:
        """Return a blob: merged here, submitted by the changeset, or stored. Raises ObjectMissing and BucketError."""
        if oid in self.merged:
            return self.merged[oid]
        return self.repo.objects.blob(oid, self._submitted.get(oid) or self.seen.places.get(oid))

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
