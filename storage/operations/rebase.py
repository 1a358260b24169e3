"""Merging a changeset onto another tree than its base: the result of a rebase, or its conflicts."""

from storage.base.ids import ObjectId
from storage.commit import Conflict, MergedBlobs, Rejection, Taken
from storage.commit.decide import decide
from storage.git.objects import EMPTY_TREE
from storage.git.tree_editor import TreeEditor
from storage.log.manifest import Changeset
from storage.operations.seen import Seen
from storage.repository import Repository


class Remerge:
    """One changeset's merge with a tree."""

    def __init__(self, repo: Repository, changeset: Changeset, seen: Seen) -> None:
        """`seen` is what its writer saw at its paths."""
        self._trees = repo.objects.tree
        self._changeset = changeset
        self._seen = seen
        self._blobs = MergedBlobs(repo.merges, repo.objects.blob)
        self._blobs.submitted |= seen.locations
        self._blobs.submit(changeset.pack, changeset.changes)

    def onto(self, root: ObjectId) -> Taken | list[Conflict] | Rejection:
        """Return what `root` would take of the changeset, or what collides. Raises Corrupt and Unavailable."""
        seen = TreeEditor(self._trees, EMPTY_TREE)
        seen.change({path: version for path, version in self._seen.versions.items() if version is not None})
        return decide(self._changeset, seen, TreeEditor(self._trees, root), self._blobs.merge_file)

    def brings(self, oid: ObjectId) -> bool:
        """Tell whether a blob is of this merge, of the changeset's own pack, or of the stack that it stands on."""
        return oid in self._blobs

    def content(self, oid: ObjectId) -> bytes:
        """Return a blob: merged here, submitted by the changeset, or stored. Raises ObjectMissing and BucketError."""
        return self._blobs.read(oid)
