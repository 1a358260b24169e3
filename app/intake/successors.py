"""Changesets that replace another one: a rebase onto the tip, and the resolution of a conflict."""

from collections.abc import Iterator
from hashlib import sha256

from app.access.caller import EVERYBODY, Caller
from app.access.visibility import is_hidden, shown_conflicts
from app.intake.packing import Item, blob
from app.intake.refusals import ContentsTooLarge, Contradiction, FieldRefused
from app.protocol.changesets.resolutions import Resolution
from app.protocol.changesets.schemas import in_each_others_way
from app.protocol.changesets.submissions import Base, Change, CommitBase, Submission, VersionsBase
from storage.base.ids import ChangesetId, ObjectId, SliceId
from storage.commit import Conflict, Rejection, recorded, why_no_mode
from storage.git.fsck import ContentError, check_content, needs_content
from storage.git.objects import FILE_MODE, REGULAR_MODES, SUBMODULE_MODE, SYMLINK_MODE, UNKNOWN_MODE, Kind, Version
from storage.git.threeway import Strategy, merge_modes
from storage.git.trees import covers, lookup_many
from storage.log.manifest import Changeset, Op, Proposal
from storage.log.records import RecordedConflict, Status, version_of
from storage.lookup.object_store import ObjectMissing
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


class Successor:
    """Makes the changeset that replaces another."""

    def __init__(self, repo: Repository, where: Slice, changeset: Changeset, state: ChangesetState) -> None:
        self._repo = repo
        self._where = where
        self._changeset = changeset
        self._state = state
        self._blobs: dict[ObjectId, tuple[bytes, int]] = {}
        self._needed = 0  # bytes of contents
        self._counted: set[ObjectId] = set()  # those contents
        self._changes: dict[bytes, Change] = {}  # by path
        self._oids: dict[bytes, ObjectId | None] = {}
        seen = seen_by_writer(repo, changeset, [change.path for change in changeset.changes])
        self._seen = seen.versions
        self._remerge = Remerge(repo, changeset, seen)

    def rebase(self, key: str, who: Caller = EVERYBODY) -> Item:
        """Return the changeset on the present tip.

        Raises Contradiction, with the conflicts where they collide, and ContentsTooLarge.
        """
        head = self._repo.view.head()
        root = ObjectId(bytes.fromhex(head.root))
        decision = self._remerge.onto(root)
        if isinstance(decision, Rejection):
            raise Contradiction(decision.detail, reason=decision.reason)
        if isinstance(decision, list):
            raise colliding(decision, who)
        modes = [change.path for change in self._changeset.changes if change.op == "mode" and change.path in decision]
        heads = lookup_many(self._repo.objects.tree, root, modes)
        for change in self._changeset.changes:
            if change.path not in decision:
                continue
            version = decision[change.path]
            try:
                if change.op == "mode" and _same_file(version, heads[change.path]):
                    self._change_mode(change.path, version, None, change.strategy)
                else:
                    self._take(change.path, version, None, change.strategy)
            except ObjectMissing:
                raise Contradiction(f"the content of {change.path.decode()} is not stored here") from None
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
        conflicts = {conflict.path.encode(): conflict for conflict in outcome.conflicts}
        if outcome.conflict_count > len(conflicts):
            raise Contradiction(
                f"it has {outcome.conflict_count} conflicts, too many to be resolved one by one; rebase it"
            )
        for path in paths:
            if path not in conflicts:
                raise FieldRefused(f"paths.{path.decode()}", "is not in conflict")
        for path in conflicts:
            if path not in paths:
                raise FieldRefused(f"paths.{path.decode()}", "is in conflict and not resolved")
        for path, version in self._blockers(conflicts, paths, who).items():
            self._take(path, None, version, Strategy.MERGE)
        for change in self._changeset.changes:
            try:
                if change.path in conflicts:
                    self._resolve(change, conflicts[change.path], paths[change.path])
                elif change.path not in self._changes:
                    self._keep(change)
            except ObjectMissing:
                raise FieldRefused(f"paths.{change.path.decode()}", "has a content that is not stored here") from None
        changes = list(self._changes.values())
        for i, message in in_each_others_way(changes):
            raise FieldRefused(f"paths.{changes[i].path.decode()}", message)
        return self._item(VersionsBase(), key, fingerprint, message or self._changeset.message, hold=False)

    def _blockers(
        self, conflicts: dict[bytes, RecordedConflict], paths: dict[bytes, Resolution], who: Caller
    ) -> dict[bytes, Version | None]:
        """Return the files, as they were seen, that must be deleted because they are in the way of a resolution."""
        blockers = {}
        for path, conflict in conflicts.items():
            if not conflict.blocker or not _stays(conflict, paths[path]):
                continue
            blocker, field = conflict.blocker.encode(), f"paths.{path.decode()}"
            if is_hidden(who, conflict):
                raise FieldRefused(field, "cannot stand there: something is in its way that is not for you to see")
            if blocker in conflicts:
                if _stays(conflicts[blocker], paths[blocker]):
                    raise FieldRefused(
                        field, f"cannot stand beside {conflict.blocker}, which is not resolved to a delete"
                    )
            elif not covers(self._where.paths, blocker):
                raise FieldRefused(field, f"{conflict.blocker} is in its way, and not in the slice {self._where.name}")
            else:
                blockers[blocker] = version_of(conflict.head)
        return blockers

    def _resolve(self, change: Proposal, conflict: RecordedConflict, resolution: Resolution) -> None:
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
                raise FieldRefused(f"paths.{path.decode()}.mode", "is needed: a symlink stands against a file here")
            mode = resolution.mode or _mode(version_of(conflict.base), head, submitted)
            self._put(path, mode, resolution.content, head)

    def _keep(self, change: Proposal) -> None:
        """Repeat a change that is not in conflict."""
        base = self._seen.get(change.path)
        _check_mode(change, base)
        version = change.version(base)
        if change.op == "mode":
            self._change_mode(change.path, version, base, change.strategy)
        else:
            self._take(change.path, version, base, change.strategy)

    def _change_mode(self, path: bytes, version: Version | None, base: Version | None, strategy: Strategy) -> None:
        """Change the mode alone: no content need be copied."""
        assert version is not None
        self._add("mode", path, version.mode, None, base, strategy)

    def _take(self, path: bytes, version: Version | None, base: Version | None, strategy: Strategy) -> None:
        """Change a path to a version whose content is known; `base` is what was seen there. Raises ObjectMissing."""
        if version is None:
            self._add("delete", path, 0, None, base, strategy)
        elif version.mode == SUBMODULE_MODE:
            self._add("put", path, version.mode, version.oid, base, strategy)
        elif not needs_content(path, version.mode) and (size := self._size_in_log(version.oid)) is not None:
            self._count(version.oid, size)
            self._add("put", path, version.mode, version.oid, base, strategy)
        else:
            self._put(path, version.mode, self._content(version.oid), base, strategy)

    def _size_in_log(self, oid: ObjectId) -> int | None:
        """Return the size of a content that need not be copied, since the log has it; None of any other."""
        described = {} if self._remerge.brings(oid) else self._repo.kinds.of([oid])
        return described[oid].size if oid in described and described[oid].kind == Kind.BLOB else None

    def _content(self, oid: ObjectId) -> bytes:
        content = self._remerge.content(oid)
        self._count(oid, len(content))
        return content

    def _count(self, oid: ObjectId, size: int) -> None:
        """Count a content that the new changeset needs, put by its id or copied; each once. Raises ContentsTooLarge."""
        if oid not in self._counted:
            self._counted.add(oid)
            self._needed += size
        most = self._repo.settings.max_body_bytes
        if self._needed > most:
            raise ContentsTooLarge(f"the contents of the new changeset exceed {most} bytes (max_body_bytes)")

    def _put(
        self, path: bytes, mode: int, content: bytes, base: Version | None, strategy: Strategy = Strategy.MERGE
    ) -> None:
        try:
            check_content(path, mode, content)
        except ContentError as error:
            raise FieldRefused(f"paths.{path.decode()}", str(error)) from None
        oid, stored = blob(content)
        self._blobs[oid] = stored
        # The content is in the blobs; a second copy would be held for nothing.
        self._add("put", path, mode, oid, base, strategy)

    def _add(
        self, op: Op, path: bytes, mode: int, oid: ObjectId | None, base: Version | None, strategy: Strategy
    ) -> None:
        """Add a change, with what it says of the version that was seen: its id, and its mode where that is known."""
        seen = base.oid if base else None
        seen_mode = base.mode if base and base.mode != UNKNOWN_MODE else None
        self._changes[path] = Change(op, path, mode, oid=oid, base=seen, strategy=strategy, base_mode=seen_mode)
        self._oids[path] = oid

    def _item(self, base: Base, key: str, fingerprint: str, message: str, hold: bool) -> Item:
        for change in self._changes.values():
            if not covers(self._where.paths, change.path):
                raise Contradiction(f"{change.path.decode()} is no longer in the slice {self._where.name}")
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
