"""Merging a changeset onto another tree than its base: the result of a rebase, or its conflicts."""

from collections.abc import Callable

from storage.base.ids import ObjectId, oid_of
from storage.commit import Conflict, MergedBlobs, Placed, Rejection
from storage.commit.decide import decide
from storage.git.objects import EMPTY_TREE
from storage.git.tree_editor import TreeEditor
from storage.log.manifest import Changeset
from storage.moves.stored import StoredMoves
from storage.moves.trail import BatchMoves, ChangesetTrail
from storage.operations.seen import Seen
from storage.repository import Repository
from storage.view.snapshot import Head


class Remerge:
    """One changeset's merge with a tree."""

    def __init__(
        self, repo: Repository, changeset: Changeset, seen: Seen, may_change: Callable[[bytes], bool] = lambda _: False
    ) -> None:
        """`seen` is what its writer saw at its paths.

        `may_change` tells whether it may be made to change another path, to which a file has moved.
        """
        self._repo = repo
        self._may_change = may_change
        self._trees = repo.objects.tree
        self._changeset = changeset
        self._seen = seen
        self._blobs = MergedBlobs(repo.merges, repo.objects.blob)
        self._blobs.submitted |= seen.locations
        self._blobs.submit(changeset.pack, changeset.changes)

    def trail(self, head: Head) -> ChangesetTrail:
        """Return what tells where files are in a head that its writer saw elsewhere."""
        repo = self._repo
        moves = BatchMoves(StoredMoves(repo, head), head.applied)
        return ChangesetTrail(self._changeset, moves, repo.outcome, repo.outcome, self._may_change)

    def onto(self, head: Head) -> Placed | list[Conflict] | Rejection:
        """Return what a head would take of the changeset, or what collides. Raises Corrupt and Unavailable."""
        tree = TreeEditor(self._trees, oid_of(head.root))
        seen = TreeEditor(self._trees, EMPTY_TREE)
        seen.change({path: version for path, version in self._seen.versions.items() if version is not None})
        return decide(self._changeset, seen, tree, self._blobs.merge_file, trail=self.trail(head))

    def brings(self, oid: ObjectId) -> bool:
        """Tell whether a blob is of this merge, of the changeset's own pack, or of the stack that it stands on."""
        return oid in self._blobs

    def content(self, oid: ObjectId) -> bytes:
        """Return a blob: merged here, submitted by the changeset, or stored. Raises ObjectMissing and BucketError."""
        return self._blobs.read(oid)
