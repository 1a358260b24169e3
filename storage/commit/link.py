"""Linking a batch: one commit on another, on one snapshot of the view. Pure.

`link` takes a snapshot, changesets in order and a reader of trees, and returns everything that the batch stores: the
objects, and what the entry says. Running it again on the same snapshot gives the same bytes (invariant 5), or those of
a batch with fewer changesets if it has to end earlier. A changeset that has an outcome is skipped (invariant 2).

For stacks an outcome stores `saw`, the tree of the base, if the base is outside this batch; and `seen`, that tree plus
the changeset's own changes, for the last changeset of a stack and whenever it equals the commit's tree. Finding what
the writer of the next changeset saw then costs one look-up, and at worst as many edits as a batch has changesets
(docs/decisions/0003-the-batch-records-what-writers-saw.md).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from msgspec import structs

from storage.access.policy import Right
from storage.access.rights import given_to, may_somewhere, missing_of
from storage.base.ids import ChangesetId, ObjectId, oid_of
from storage.commit.base_resolver import BaseResolver, CommitTree, ReadOutcome
from storage.commit.decide import Placed, Rejection, Taken, base_said, decide, says_moves
from storage.commit.footprint import LookUps, Made, NewTrees
from storage.commit.merged_blobs import MergeBlobs, MergedBlobs, ReadBlob
from storage.commit.records import EXPIRED, actor_of, closing, recorded
from storage.git.objects import Commit, Ident, Kind, Tree, object_id
from storage.git.paths import as_text, raw_path, recorded_path
from storage.git.threeway import ConflictClass, MergesTooLong, MergeUnavailable
from storage.git.trailers import CHANGESET_ID, CHANGESET_SUBMITTER, with_trailer, without_submitter
from storage.git.tree_editor import TreeEditor
from storage.git.trees import ReadTree, covers
from storage.log.facts import covers_of, facts_of
from storage.log.manifest import Changeset, Proposal
from storage.log.records import Closing, Decided, Decision, Followed, MergedFile, Moved, Status, Submitter
from storage.moves.trail import NO_MOVES, BatchMoves, ChangesetTrail, MovesSince
from storage.view.snapshot import Snapshot

_KEEP_PUSHED = frozenset({Status.COMMITTED, Status.CONFLICTED})
"""Of which decisions the record tells the pushed commit: another push of it is answered with them."""


@dataclass(slots=True)
class Linked:
    """A batch ready to be proved and stored."""

    decided: list[Decided] = field(default_factory=list)  # the entry's records, in log order
    deferred: list[ChangesetId] = field(default_factory=list)  # cannot be decided now
    left: list[ChangesetId] = field(default_factory=list)  # would have made the batch too large, or too long
    too_long: ChangesetId | None = None  # of `deferred`: the one whose merges took all the time that a batch has
    objects: dict[ObjectId, tuple[Kind, bytes]] = field(default_factory=dict)  # trees and commits, in order of birth
    parsed: dict[ObjectId, Tree] = field(default_factory=dict)  # trees of these that were read again
    net: Taken = field(default_factory=dict)  # what the batch as a whole changes
    tip: ObjectId = ObjectId(b"")
    root: ObjectId = ObjectId(b"")
    time: int = 0  # the commits' committer time
    committed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSources:
    """What linking reads of what is stored."""

    tree: ReadTree
    commit_tree: CommitTree
    outcome: ReadOutcome
    changes: Callable[[ChangesetId, Decision], Sequence[Proposal]]  # of a committed changeset, given its outcome
    blob: ReadBlob
    merge: MergeBlobs
    moves: MovesSince = NO_MOVES


class Linker:
    """Links one batch; see the module."""

    def __init__(
        self,
        snapshot: Snapshot,
        sources: BatchSources,
        *,
        committer: Ident,
        max_bytes: int | None = None,
        enough: Callable[[], bool] = lambda: False,
        may_say_moves: Callable[[], bool] = lambda: True,
    ) -> None:
        """The batch takes no more having made `max_bytes` (None: no limit), or once `enough` says so.

        `may_say_moves` tells whether every node reads entries that say something of moves, or name paths that are not
        UTF-8; what would is deferred else.
        """
        self._snapshot = snapshot
        self._new_trees = NewTrees(sources.tree)
        self.read = self._new_trees.read
        """Returns a tree, of this batch or from storage."""
        self._read_changes = sources.changes
        self._blobs = MergedBlobs(sources.merge, sources.blob)
        # Every commit's committer time is at least its parent's, whatever the clocks of workers say.
        self._committer = Ident(committer.name, committer.email, max(committer.time, snapshot.head.tip_time))
        self._made = Made(max_bytes)
        self._enough = enough
        self._head = TreeEditor(self.read, oid_of(snapshot.head.root))
        self._trees = LookUps(self.read, max_bytes)
        self._seen_in: dict[ChangesetId, ObjectId] = {}  # what writers on top of stacks outside of this batch saw
        self._stacks: dict[ChangesetId, TreeEditor] = {}
        self._changes: dict[ChangesetId, Sequence[Proposal]] = {}
        self._records: dict[ChangesetId, Decided] = {}  # in log order
        # Holds no linker, which would be a circle (see NewTrees).
        known = partial(_first_with, (self._records, snapshot.outcomes))
        self._bases = BaseResolver(sources.commit_tree, known, sources.outcome)
        self._moves = BatchMoves(sources.moves, snapshot.head.applied)
        self._may_say_moves = may_say_moves
        self._too_large = False  # a file of the changeset that is being decided
        self._keys = dict(snapshot.keys)
        self._closed = dict(snapshot.closed)
        self.result = Linked(
            tip=oid_of(snapshot.head.tip),
            root=self._head.root,
            time=self._committer.time,
            parsed=self._new_trees.parsed,
        )

    def run(self, changesets: Sequence[Changeset]) -> Linked:
        """Link `changesets` in order, those left out that cannot be decided now.

        Where the batch has become too large or takes too long, it ends behind the first that was decided.
        """
        for i, changeset in enumerate(changesets):
            if self._records and (self._made.is_full or self._enough()):
                self.result.left = [left.id for left in changesets[i:]]
                break
            if changeset.id in self._snapshot.outcomes or self._snapshot.has_passed(changeset.id):
                continue  # decided by another batch since it was claimed
            record = self._decide(changeset)
            if record is None:
                self.result.deferred.append(changeset.id)
            else:
                self._record(changeset, record)
        for changeset_id, editor in self._stacks.items():
            seen = editor.write(self._emit_tree).hex()
            self._records[changeset_id] = structs.replace(self._records[changeset_id], seen=seen)
        self.result.decided = list(self._records.values())
        self.result.root = self._head.root
        return self.result

    def _decide(self, changeset: Changeset) -> Decided | None:
        """Decide and commit one changeset; None where that cannot be done now (see `deferred`)."""
        refusal = self._refusal(changeset)
        if refusal:
            return _rejected(changeset, refusal)
        if changeset.base_changeset is not None:
            changeset = structs.replace(changeset, base_changeset=self._bases.first_of(changeset.base_changeset))
        base = self._base(changeset)
        if base is None:
            return None
        if isinstance(base, Rejection):
            return _rejected(changeset, base)
        seen, saw = base
        self._blobs.submit(changeset.pack, changeset.changes)
        self._too_large = False
        try:
            blind, trail = self._stacks_blindly(changeset), self._trail(changeset)
            decision = decide(changeset, seen, self._head, self._merge_file, blind, trail)
        except MergeUnavailable as error:
            if isinstance(error, MergesTooLong) and self.result.too_long is None:
                self.result.too_long = changeset.id
            return None  # its neighbours need not wait for that
        if isinstance(decision, Rejection):
            return _rejected(changeset, decision)
        if (changeset.names_bytes or says_moves(changeset, decision)) and not self._may_say_moves():
            return None  # older nodes could not read the entry
        if isinstance(decision, list):
            return Decided(
                id=changeset.id, slice=changeset.slice, pack=changeset.pack, status=Status.CONFLICTED,
                conflicts=recorded(decision), conflict_count=len(decision),
            )  # fmt: skip
        return self._commit(changeset, decision, saw)

    def _trail(self, changeset: Changeset) -> ChangesetTrail:
        """Return what tells a changeset where files are by now that its writer saw elsewhere."""

        def may_change(path: bytes) -> bool:
            definition = self._snapshot.slices.get(changeset.slice)
            if definition is None or not covers(definition.paths, path):
                return False
            return not changeset.by or self._not_allowed(changeset.by, [path], definition.paths) is None

        return ChangesetTrail(changeset, self._moves, self._bases.outcome_of, self._bases.read_outcome, may_change)

    def _refusal(self, changeset: Changeset) -> Rejection | None:
        owner = self._keys.get(changeset.key) if changeset.key else None
        if owner is not None and owner != changeset.id:
            return Rejection("duplicate", f"changeset {owner} has the same idempotency key", owner)
        by = self._closed.get(changeset.resolves, EXPIRED) if changeset.resolves else EXPIRED
        if by != EXPIRED:  # which says that nobody took its place yet
            return Rejection("conflict-closed", f"the conflict of {changeset.resolves} was closed before: {by}")
        definition = self._snapshot.slices.get(changeset.slice)
        if definition is None:
            return Rejection("no-such-slice", "its slice has been deleted")
        for change in changeset.changes:
            if not covers(definition.paths, change.path):
                return Rejection("outside-slice", f"{as_text(change.path)} is not in slice {definition.name}")
        if changeset.by:
            return self._not_allowed(changeset.by, [change.path for change in changeset.changes], definition.paths)
        return None

    def _not_allowed(self, by: Submitter, paths: Sequence[bytes], within: Collection[bytes]) -> Rejection | None:
        """Return why a submitter, who has waited, may not change these paths; none need a right `within` the slice."""
        given = given_to(self._snapshot.policy, by.principal, by.role, by.paths)
        if not paths and not may_somewhere(given, Right.WRITE, frozenset(within)):
            return Rejection("not-allowed", f"{by.principal} may write nothing in the slice")
        path = missing_of(given, Right.WRITE, paths)
        if path is None:
            return None
        return Rejection("not-allowed", f"{by.principal} has not the role writer at {as_text(path)}")

    def _base(self, changeset: Changeset) -> tuple[TreeEditor, ObjectId | None] | Rejection | None:
        """Return what the writer saw, with its tree's id unless that is in a stack of this batch; None: not decided."""
        if changeset.base_changeset is not None:
            return self._base_in_stack(changeset.base_changeset)
        tree = self._bases.tree_of(changeset)
        if tree is None:
            return Rejection("unknown-base", f"{(changeset.base_commit or b'').hex()} is no commit of this repository")
        return self._trees[tree], tree

    def _base_in_stack(self, base: ChangesetId) -> tuple[TreeEditor, ObjectId | None] | Rejection | None:
        outcome = self._bases.outcome_of(base)
        if outcome is None:
            return Rejection("unknown-base", f"there is no {base}") if self._snapshot.has_passed(base) else None
        if outcome.status != Status.COMMITTED:
            return Rejection("base-not-landed", f"its base {base} is {outcome.status}")
        if outcome.seen:
            tree = oid_of(outcome.seen)
            return self._trees[tree], tree
        if base in self._records:
            if base not in self._stacks:
                self._stack(base, self._editor_at(base))
            return self._stacks[base], None
        if base not in self._seen_in:
            self._seen_in[base] = self._editor_at(base).write(self._emit_tree)
        tree = self._seen_in[base]
        return self._trees[tree], tree

    def _stack(self, changeset_id: ChangesetId, editor: TreeEditor) -> None:
        self._stacks[changeset_id] = editor
        self._made.open(changeset_id, editor)

    def _stacks_blindly(self, changeset: Changeset) -> bool:
        """Tell whether a stack stands on a base by versions: then what nobody named was not seen, present or not."""
        base = self._bases.outcome_of(changeset.base_changeset) if changeset.base_changeset else None
        return base is not None and base.blind

    def _editor_at(self, changeset_id: ChangesetId) -> TreeEditor:
        """Return an editor at what the writer of a committed changeset saw, with that changeset's own changes."""
        descent = self._bases.descend(changeset_id)
        trail = list(descent)
        assert descent.tree is not None
        editor = TreeEditor(self.read, descent.tree)
        for ancestor, outcome in reversed(trail):
            assert outcome is not None
            if ancestor not in self._changes:
                self._changes[ancestor] = self._read_changes(ancestor, outcome)
            overlay(editor, self._changes[ancestor])
        return editor

    def _merge_file(
        self, path: bytes, base: ObjectId | None, ours: ObjectId, theirs: ObjectId
    ) -> ObjectId | ConflictClass:
        if self._too_large:
            # It is conflicted whatever the others merge to; and a thousand of them may each take long.
            return ConflictClass.TOO_LARGE
        before = self._blobs.size
        merged = self._blobs.merge_file(path, base, ours, theirs)
        self._made.add(self._blobs.size - before)
        self._too_large = merged == ConflictClass.TOO_LARGE
        return merged

    def _commit(self, changeset: Changeset, taken: Placed, saw: ObjectId | None) -> Decided:
        before = self._head.root
        self._head.change(taken)  # all at once: a put may need the place of a file that is deleted
        root = self._head.write(self._emit_tree)
        submitter = [(CHANGESET_SUBMITTER, changeset.by.principal)] if changeset.by else []
        message = with_trailer(without_submitter(changeset.message), CHANGESET_ID, changeset.id, *submitter)
        data = Commit(root, (self.result.tip,), changeset.author, self._committer, message).encode()
        self.result.tip = object_id(Kind.COMMIT, data)
        self.result.objects[self.result.tip] = (Kind.COMMIT, data)
        self.result.net.update(taken)
        self.result.committed += 1
        self._changes[changeset.id] = changeset.changes
        merged = self._merges(changeset, taken)
        is_seen = saw == before and not changeset.base_versions  # committed on the very tree that its writer saw
        if changeset.base_changeset and not is_seen:
            self._climb(changeset, saw)
        return Decided(
            id=changeset.id,
            slice=changeset.slice,
            pack=changeset.pack,
            status=Status.COMMITTED,
            commit=self.result.tip.hex(),
            changes=tuple([change.recorded() for change in changeset.changes]),
            merged=merged,
            merged_count=len(merged),
            moves=tuple([Moved.of(*move) for move in taken.moves]),
            followed=tuple([Followed.of(*followed) for followed in taken.followed.items()]),
            followed_count=len(taken.followed),
            blind=changeset.base_versions or self._stacks_blindly(changeset),
            seen=root.hex() if is_seen else None,
            saw=saw.hex() if saw is not None and not is_seen else None,
            base=changeset.base_changeset if saw is None else None,
        )

    def _merges(self, changeset: Changeset, taken: Placed) -> tuple[MergedFile, ...]:
        """Return the paths that got another version than was submitted, and store merged blobs."""
        rows = []
        left = {path: oid for _, path, oid in taken.moves}
        for change in changeset.changes:
            path = taken.followed.get(change.path, change.path)
            version = taken.get(path)
            if version is None or (version.oid, version.mode) == (change.oid, change.mode) or change.op == "mode":
                continue
            made = self._blobs.merged.get(version.oid)
            if made is None and change.oid is None and left.get(path) == version.oid:
                continue  # it moved as it was
            # The size stands only here: the index of a pack does not tell it.
            size = len(made) if made is not None else None
            rows.append(MergedFile(recorded_path(path), version.mode, version.oid.hex(), size))
            if made is not None:
                self.result.objects[version.oid] = (Kind.BLOB, made)
        return tuple(rows)

    def _climb(self, changeset: Changeset, saw: ObjectId | None) -> None:
        """Carry what the writer of a stack has seen to the stack's newest changeset."""
        assert changeset.base_changeset is not None
        if saw is None:
            editor = self._stacks.pop(changeset.base_changeset)
            self._made.close(changeset.base_changeset)
        else:
            editor = TreeEditor(self.read, saw)
        overlay(editor, changeset.changes)
        self._stack(changeset.id, editor)

    def _record(self, changeset: Changeset, record: Decided) -> None:
        """Take a record, with what it repeats of the request."""
        closes = None
        if changeset.resolves:
            closes = self._closes(changeset.resolves, record.status)
            if closes:
                self._closed[changeset.resolves] = changeset.id
        if changeset.key:
            self._keys.setdefault(changeset.key, changeset.id)
        covers = covers_of(changeset, [raw_path(each.to) for each in record.followed])
        made = structs.replace(
            record,
            held=changeset.hold,
            resolves=changeset.resolves or None,
            closes=closes,
            key=changeset.key or None,
            fingerprint=changeset.fingerprint if changeset.key else None,
            by=actor_of(changeset),
            trace=changeset.trace,
            priority=changeset.priority,
            covers=covers,
            facts=facts_of(changeset, covers, len(record.followed)),
            pushed=changeset.pushed if record.status in _KEEP_PUSHED else None,
        )
        self._records[changeset.id] = made
        self._moves.record(made)

    def _closes(self, resolved: ChangesetId, status: Status) -> Closing | None:
        """Return what a record says of the conflicted changeset whose place it takes."""
        old = self._bases.outcome_of(resolved)
        if old and old.status == Status.CONFLICTED and status in {Status.COMMITTED, Status.CONFLICTED}:
            return closing(resolved, old)
        return None

    def _emit_tree(self, oid: ObjectId, data: bytes) -> None:
        if self._new_trees.add(oid, data):
            self._made.add(len(data))
        self.result.objects[oid] = (Kind.TREE, data)


def _rejected(changeset: Changeset, rejection: Rejection) -> Decided:
    """Return the record of a changeset that can never be committed."""
    return Decided(
        id=changeset.id, slice=changeset.slice, pack=changeset.pack, status=Status.REJECTED,
        reason=rejection.reason, detail=rejection.detail, first=rejection.first or None,
    )  # fmt: skip


def _first_with(outcomes: Sequence[Mapping[ChangesetId, Decision]], changeset_id: ChangesetId) -> Decision | None:
    return next((known[changeset_id] for known in outcomes if changeset_id in known), None)


def overlay(editor: TreeEditor, changes: Sequence[Proposal]) -> None:
    """Make a changeset's changes in what its writer saw, where nothing can collide."""
    by_path = {change.path: change for change in changes}
    wanted = {
        change.path: change.version(base_said(change, by_path) or editor.get(change.seen_at)) for change in changes
    }
    editor.change(wanted)
