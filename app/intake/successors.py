"""Changesets that replace another one: a rebase onto the tip, and the resolution of a conflict."""

from collections.abc import Iterator, Mapping
from hashlib import sha256

from app.access.caller import EVERYBODY, Caller
from app.access.visibility import is_hidden, shown_conflicts
from app.intake.packing import Item
from app.intake.refusals import Contradiction, FieldRefused
from app.intake.successor_changes import SuccessorChanges
from app.protocol.changesets.resolutions import Resolution, resolved_field
from app.protocol.changesets.schemas import in_each_others_way
from app.protocol.changesets.submissions import Base, CommitBase, Submission, VersionsBase
from storage.base.ids import ChangesetId, ObjectId, SliceId
from storage.commit import Conflict, Rejection, recorded, why_no_mode
from storage.git.objects import FILE_MODE, REGULAR_MODES, SUBMODULE_MODE, SYMLINK_MODE, Version
from storage.git.paths import as_text, raw_path
from storage.git.threeway import ConflictClass, Strategy, merge_modes
from storage.git.trees import covers, lookup_many
from storage.log.manifest import Changeset, Proposal
from storage.log.records import RecordedConflict, Status, version_of
from storage.lookup.object_store import ObjectMissing
from storage.moves.trail import ChangesetTrail
from storage.operations.rebase import Remerge
from storage.operations.seen import seen_by_writer
from storage.queue import ChangesetState, read_changesets
from storage.repository import Repository
from storage.view.snapshot import Slice

# No writer's key can begin so: they are printable.
_KEY_PREFIX = "\x1f"


def key_of(verb: str, changeset: ChangesetId, attempt: int) -> str:
    """Return the idempotency key of a changeset's one successor by `verb`, where its writer gave none.

    Attempts are counted from 0: one whose successor was abandoned or rejected is followed by another.
    """
    return f"{_KEY_PREFIX}{verb}/{changeset}" + (f"/{attempt}" if attempt else "")


def fingerprint_of(verb: str, changeset: ChangesetId, body: object = None) -> str:
    """Return what tells a repeat from another request with the same key."""
    return sha256(repr((verb, changeset, body)).encode()).hexdigest()[:32]


class Successor(SuccessorChanges):
    """Makes the changeset that replaces another."""

    def __init__(self, repo: Repository, where: Slice, changeset: Changeset, state: ChangesetState) -> None:
        self._where = where
        self._changeset = changeset
        self._state = state
        seen = seen_by_writer(repo, changeset, [change.path for change in changeset.changes])
        self._seen = seen.versions
        super().__init__(repo, Remerge(repo, changeset, seen, lambda path: covers(where.paths, path)))
        self._by_path = {change.path: change for change in changeset.changes}
        self._sources = {change.source for change in changeset.changes if change.source is not None}

    def rebase(self, key: str, who: Caller = EVERYBODY) -> Item:
        """Return the changeset on the present tip.

        Raises Contradiction, with the conflicts where they collide, and ContentsTooLarge.
        """
        head = self._repo.view.head()
        root = ObjectId(bytes.fromhex(head.root))
        decision = self._remerge.onto(head)
        if isinstance(decision, Rejection):
            raise Contradiction(decision.detail, reason=decision.reason)
        if isinstance(decision, list):
            raise colliding(decision, who)
        placed = [(change, decision.followed.get(change.path, change.path)) for change in self._changeset.changes]
        moves = {path: source for source, path, _ in decision.moves}
        alone = [path for change, path in placed if change.op == "mode" and path in decision]
        heads = lookup_many(self._repo.objects.tree, root, [*alone, *moves.values()])
        strategies = {path: change.strategy for change, path in placed}
        only_modes = {*alone}
        for path, version in decision.items():
            strategy = strategies.get(path, Strategy.MERGE)
            try:
                if path in moves:
                    self._move(moves[path], path, version, heads[moves[path]], None, strategy)
                elif path in only_modes and _same_file(version, heads[path]):
                    self._change_mode(path, version, None, strategy)
                elif path not in self._changes:
                    self._take(path, version, None, strategy)
            except ObjectMissing:
                raise Contradiction(f"the content of {as_text(path)} is not stored here") from None
        fingerprint = fingerprint_of("rebase", self._changeset.id)
        base = CommitBase(bytes.fromhex(head.tip))
        # One that was held, and abandoned for this very rebase, is held again.
        outcome = self._state.outcome
        hold = self._state.held or (self._changeset.hold and outcome is not None and outcome.status == Status.ABANDONED)
        return self._item(base, key, fingerprint, self._changeset.message, hold)

    def resolve(
        self,
        paths: dict[bytes, Resolution],
        key: str,
        fingerprint: str,
        message: str | None,
        who: Caller = EVERYBODY,
    ) -> Item:
        """Return the changeset with its conflicts resolved, by a writer who saw the versions in the conflicts.

        Raises FieldRefused where a path in conflict is left out, another is named, or answers contradict each other.
        """
        outcome = self._state.outcome
        assert outcome is not None
        conflicts = {raw_path(conflict.path): conflict for conflict in outcome.conflicts}
        if outcome.conflict_count > len(conflicts):
            raise Contradiction(
                f"it has {outcome.conflict_count} conflicts, too many to be resolved one by one; rebase it"
            )
        _check_complete(conflicts, paths)
        for path, version in self._blockers(conflicts, paths, who).items():
            self._take(path, None, version, Strategy.MERGE)
        trail = self._remerge.trail(self._repo.view.head())
        for change in self._changeset.changes:
            try:
                if change.path in conflicts:
                    self._check_place(conflicts[change.path], paths[change.path], who)
                    self._resolve(change, conflicts[change.path], paths[change.path])
                elif change.path not in self._changes and change.path not in self._sources:
                    self._keep(change, trail)
            except ObjectMissing:
                raise FieldRefused(resolved_field(change.path), "has a content that is not stored here") from None
        changes = list(self._changes.values())
        for i, message in in_each_others_way(changes):
            raise FieldRefused(resolved_field(changes[i].path), message)
        return self._item(VersionsBase(), key, fingerprint, message or self._changeset.message, hold=False)

    def _blockers(
        self, conflicts: dict[bytes, RecordedConflict], paths: dict[bytes, Resolution], who: Caller
    ) -> dict[bytes, Version | None]:
        """Return the files, as they were seen, that must be deleted because they are in the way of a resolution."""
        blockers = {}
        for path, conflict in conflicts.items():
            if not conflict.blocker or not _stays(conflict, paths[path]):
                continue
            blocker, field = raw_path(conflict.blocker), resolved_field(path)
            if is_hidden(who, conflict):
                raise FieldRefused(field, "cannot stand there: something is in its way that is not for you to see")
            if blocker in conflicts:
                if _stays(conflicts[blocker], paths[blocker]):
                    raise FieldRefused(
                        field, f"cannot stand beside {as_text(blocker)}, which is not resolved to a delete"
                    )
            elif not covers(self._where.paths, blocker):
                raise FieldRefused(field, f"{as_text(blocker)} is in its way, and not in the slice {self._where.name}")
            else:
                blockers[blocker] = version_of(conflict.head)
        return blockers

    def _resolve(self, change: Proposal, conflict: RecordedConflict, resolution: Resolution) -> None:
        if conflict.moved is not None or change.source is not None:
            self._resolve_moved(change, conflict, resolution)
            return
        path, head, seen = change.path, version_of(conflict.head), self._seen.get(change.path)
        if resolution.take == "ours" or (conflict.blocker and resolution.delete):
            return
        if conflict.blocker:
            head = None  # that is the blocker's; at the path itself there was nothing
        submitted = change.version(seen)
        if resolution.take == "theirs":
            _check_mode(change, seen)
        if resolution.take == "theirs" and change.op == "mode" and _same_file(submitted, head):
            self._change_mode(path, submitted, head, Strategy.MERGE)
        elif resolution.take == "theirs":
            self._take(path, submitted, head, Strategy.MERGE)
        elif resolution.delete:
            self._take(path, None, head, Strategy.MERGE)
        else:
            assert resolution.content is not None
            if not resolution.mode and _is_one_a_symlink(head, submitted):
                raise FieldRefused(f"{resolved_field(path)}.mode", "is needed: a symlink stands against a file here")
            mode = resolution.mode or _mode(version_of(conflict.base), head, submitted)
            self._put(path, mode, resolution.content, head)

    def _check_place(self, conflict: RecordedConflict, resolution: Resolution, who: Caller) -> None:
        """Refuse a resolution that would change a file where it has moved to, and may not be changed."""
        if conflict.moved is None or resolution.take == "ours":
            return
        field, moved = resolved_field(raw_path(conflict.path)), raw_path(conflict.moved)
        if is_hidden(who, conflict):
            raise FieldRefused(field, "has moved to where you may not see it: take ours, which drops the change")
        if not covers(self._where.paths, moved):
            detail = f"has moved to {as_text(moved)}, which is not in the slice {self._where.name}: take ours"
            raise FieldRefused(field, detail)
        if moved in self._changes:
            raise FieldRefused(field, f"has moved to {as_text(moved)}, which another change changes: take ours")

    def _resolve_moved(self, change: Proposal, conflict: RecordedConflict, resolution: Resolution) -> None:
        """Resolve a conflict of a move, or of a file that others moved; it stays where it is unless it moves."""
        head, submitted = version_of(conflict.head), version_of(conflict.submitted)
        at = raw_path(conflict.moved) if conflict.moved is not None else change.path
        # Where the head has another file at the target of a move, and the one that moves at its source.
        is_taken = conflict.kind == ConflictClass.ADD_ADD and conflict.moved is None and conflict.base is None
        if resolution.take == "ours":
            return
        if conflict.blocker or is_taken:
            assert change.source is not None
            leave = self._seen.get(change.source)
            self._take(change.source, None, leave, change.strategy)
            head = head if is_taken else None
        if resolution.take == "theirs":
            version = submitted
        elif resolution.delete:
            version = None
        else:
            assert resolution.content is not None
            mode = resolution.mode or _mode(version_of(conflict.base), head, submitted)
            self._place(change, at, head, mode, resolution.content)
            return
        if version is None or change.source is None or at == change.path or head is None:
            where = at if version is None or change.source is None else change.path
            if change.op == "mode" and _same_file(version, head):
                self._change_mode(where, version, head, Strategy.MERGE)
            elif version is not None or head is not None:
                self._take(where, version, head, Strategy.MERGE)
        else:
            kept = head if change.oid is None and not change.mode else version
            self._move(at, change.path, kept, head, head, Strategy.MERGE)

    def _place(self, change: Proposal, at: bytes, head: Version | None, mode: int, content: bytes) -> None:
        """Put a content where a file is, or where it moves to."""
        if change.source is None or at == change.path or head is None:
            self._put(at if change.source is None else change.path, mode, content, head)
            return
        self._put(change.path, mode, content, None)
        self._join(at, change.path, head, Strategy.MERGE)

    def _keep(self, change: Proposal, trail: ChangesetTrail) -> None:
        """Repeat a change that is not in conflict, where its file is now."""
        base = self._seen.get(change.seen_at)
        _check_mode(change, base)
        version = change.version(base)
        at = trail.where(change.seen_at, base) if base is not None and change.seen_at not in self._changes else None
        if change.source is not None:
            if at != change.path:
                self._move(change.source, change.path, version, base, base, change.strategy)
                return
            at = None  # others moved it there, too
        path = at if at is not None and at not in self._by_path and covers(self._where.paths, at) else change.path
        if change.op == "mode":
            self._change_mode(path, version, base, change.strategy)
        else:
            self._take(path, version, base, change.strategy)

    def _item(self, base: Base, key: str, fingerprint: str, message: str, hold: bool) -> Item:
        for change in self._changes.values():
            if not covers(self._where.paths, change.path):
                raise Contradiction(f"{as_text(change.path)} is no longer in the slice {self._where.name}")
        submission = Submission(
            slice=self._where.id,
            base=base,
            message=message,
            changes=tuple(self._changes.values()),
            key=key,
            hold=hold,
            resolves=self._changeset.id,
            priority=self._changeset.priority,
            labels=self._changeset.labels,
        )
        return Item(
            submission=submission,
            slice=SliceId(self._where.id),
            author=self._changeset.author,
            oids=tuple(self._oids.values()),
            blobs=self._blobs,
            fingerprint=fingerprint,
        )


def read_changeset(repo: Repository, changeset: ChangesetId, state: ChangesetState) -> Changeset:
    """Return what a changeset's writer submitted. Raises BucketError."""
    pack = state.outcome.pack if state.outcome else state.pack
    assert pack is not None, "what stands somewhere has a pack"
    return read_changesets(repo.archive, repo.queue, [(changeset, pack)])[0]


def rebasable(state: ChangesetState) -> bool:
    """Tell whether a changeset may be rebased: it will not be committed as it is, and has not been replaced."""
    if state.closed_by:
        return False
    outcome = state.outcome
    if outcome is None:
        return state.held
    if outcome.status in {Status.CONFLICTED, Status.ABANDONED}:
        return True
    return outcome.status == Status.REJECTED and outcome.reason == "base-not-landed"


def colliding(conflicts: list[Conflict], who: Caller) -> Contradiction:
    """The changes collide with the head."""
    return Contradiction(
        f"it collides with the head at {len(conflicts)} paths",
        conflicts=shown_conflicts(who, recorded(conflicts)),
        conflict_count=len(conflicts),
    )


def _check_complete(conflicts: Mapping[bytes, RecordedConflict], paths: Mapping[bytes, Resolution]) -> None:
    """Refuse resolutions that are not of exactly the paths in conflict."""
    for path in paths:
        if path not in conflicts:
            raise FieldRefused(resolved_field(path), "is not in conflict")
    for path in conflicts:
        if path not in paths:
            raise FieldRefused(resolved_field(path), "is in conflict and not resolved")


def _stays(conflict: RecordedConflict, resolution: Resolution) -> bool:
    """Tell whether a file stands at a path in conflict as it is resolved, that of the head or another."""
    if conflict.blocker:
        return resolution.take == "theirs" or resolution.content is not None
    if resolution.take is None:
        return not resolution.delete
    return (conflict.head if resolution.take == "ours" else conflict.submitted) is not None


def _check_mode(change: Proposal, seen: Version | None) -> None:
    """Refuse a change of mode of no regular file, which older versions accepted. Raises Contradiction."""
    if no_mode := why_no_mode(change, seen):
        raise Contradiction(no_mode)


def _same_file(one: Version | None, other: Version | None) -> bool:
    """Tell whether two versions are regular files with the same content."""
    return one is not None and other is not None and one.oid == other.oid and other.mode in REGULAR_MODES


def _is_one_a_symlink(head: Version | None, submitted: Version | None) -> bool:
    """Tell whether a content could be meant for a file as well as for a symlink's target."""
    kinds = {
        version.mode == SYMLINK_MODE for version in (head, submitted) if version and version.mode != SUBMODULE_MODE
    }
    return len(kinds) == 2


def _mode(base: Version | None, head: Version | None, submitted: Version | None) -> int:
    """Return the mode of a content that came without one: merged, or the head's where both sides moved it."""
    merged = merge_modes(base, head, submitted) if head and submitted else None
    modes = [merged, *(version.mode for version in (head, submitted) if version)]
    return next((mode for mode in modes if mode and mode != SUBMODULE_MODE), FILE_MODE)


def paths_of(resolutions: dict[bytes, Resolution]) -> Iterator[tuple[object, ...]]:
    """Yield the inputs of a fingerprint, in order."""
    for path, resolution in sorted(resolutions.items()):
        content = sha256(resolution.content).hexdigest() if resolution.content is not None else None
        yield path, resolution.take, content, resolution.mode, resolution.delete
