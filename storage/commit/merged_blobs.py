"""Blobs by id: those that merges made, those that changesets submitted, and stored ones. Pure, given readers."""

from collections.abc import Callable, Sequence

from storage.base.ids import ObjectId, PackId
from storage.git.fsck import fit_to_stand
from storage.git.objects import Kind, object_id
from storage.git.packs import Location
from storage.git.threeway import ConflictClass
from storage.log.manifest import Proposal

MergeBlobs = Callable[[tuple[ObjectId | None, ObjectId, ObjectId], Callable[[ObjectId], bytes]], bytes | ConflictClass]
"""Merges the blobs of base, ours and theirs, given a reader of blobs; returns the content, or what collides."""

ReadBlob = Callable[[ObjectId, Location | None], bytes]
"""Returns a blob, which stands at the given location where that is known."""


class MergedBlobs:
    """The blobs of some merges, by id."""

    def __init__(self, merge: MergeBlobs, read_blob: ReadBlob) -> None:
        self._merge = merge
        self._read_blob = read_blob
        self.merged: dict[ObjectId, bytes] = {}
        self.size = 0
        """The bytes of those."""
        self.submitted: dict[ObjectId, Location] = {}
        """Where submitted blobs stand, which the view may not know yet."""

    def submit(self, pack: PackId, changes: Sequence[Proposal]) -> None:
        """Note where the blobs of a changeset stand."""
        for change in changes:
            if change.oid is not None and change.range is not None:
                self.submitted[change.oid] = Location(pack, change.range)

    def __contains__(self, oid: object) -> bool:
        """Tell whether a blob was merged or submitted."""
        return oid in self.merged or oid in self.submitted

    def read(self, oid: ObjectId) -> bytes:
        """Return a blob: merged, submitted or stored. Raises what `read_blob` raises."""
        content = self.merged.get(oid)
        return self._read_blob(oid, self.submitted.get(oid)) if content is None else content

    def merge_file(
        self, path: bytes, base: ObjectId | None, ours: ObjectId, theirs: ObjectId
    ) -> ObjectId | ConflictClass:
        """Merge the contents of a file. Raises what `merge` raises."""
        content = self._merge((base, ours, theirs), self.read)
        if isinstance(content, ConflictClass):
            return content
        if not fit_to_stand(path, content):
            return ConflictClass.CONTENT
        oid = object_id(Kind.BLOB, content)
        if oid not in self.merged:
            self.merged[oid] = content
            self.size += len(content)
        return oid
