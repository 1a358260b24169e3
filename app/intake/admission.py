"""Admission: whether submissions that are well-formed can be taken, given what is stored and what waits.

One call of Redis answers for a whole bulk; beyond it only base commits that are new to this process are read, and the
first bytes of objects that are given by id.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from app.intake.intake import Item, blob
from app.protocol.problems import Problem, invalid, key_reused, not_found, too_many
from app.protocol.submissions import Base, Change, ChangesetBase, CommitBase, ItemBase, Submission
from storage.backends.turns import breathe, in_thread_if_large, without_turn
from storage.base.errors import Recovering
from storage.base.ids import ChangesetId, ObjectId
from storage.git.fsck import ContentError, check_content, needs_content
from storage.git.objects import SUBMODULE_MODE, CorruptObject, Ident, Kind
from storage.git.threeway import Strategy
from storage.git.trees import covers, lookup
from storage.lookup.object_kinds import Described
from storage.lookup.object_store import ObjectMissing
from storage.queue.states import Admission
from storage.repository import Repository

MAX_BASES = 1000
"""Ids of versions seen, in one request, of which it is looked up what they are."""

MAX_JUDGED_BYTES = 1 << 20
"""A content put by id where its bytes must be judged (a symlink, .gitmodules, .gitattributes) has no more of them."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A repeat of a changeset that was accepted before."""

    changeset: ChangesetId


Admitted = Item | Duplicate | Problem


def admit(
    repo: Repository, submissions: Sequence[Submission | Problem], bulk: bool, stores: bool = True
) -> list[Admitted]:
    """Return for each submission what it has become: ready for the intake, a repeat, or refused.

    With stores=False (a dry run) the limits of the queues are skipped. Positions count accepted items only.
    Raises what holds for the whole request, of which nothing has been taken: a Problem where there is no room for it,
    Recovering where it is not known yet whether something is there, LookedUpInPart, BucketError and ViewAbsent.
    """
    valid = [each for each in submissions if isinstance(each, Submission)]
    found = repo.queue.admit(
        list(dict.fromkeys(each.slice for each in valid)),
        list(dict.fromkeys(each.base.id for each in valid if isinstance(each.base, ChangesetBase))),
        list(dict.fromkeys(each.key for each in valid if each.key)),
    )
    if stores:
        check_capacity(repo, found, valid)
    unknown = {ChangesetId(each.base.id) for each in valid if isinstance(each.base, ChangesetBase)} - found.bases
    if unknown and (not found.recovered or repo.inbox.holds(sorted(unknown))):
        raise Recovering("changesets are being looked for")
    return _Admitting(repo, found, bulk, stores).all(submissions)


def check_capacity(repo: Repository, found: Admission, submissions: Sequence[Submission], slice_id: str = "") -> None:
    """Refuse with 429 where these would be too many; `slice_id`: also for that slice alone.

    Raises a Problem.
    """
    count, held = len(submissions), sum(each.hold for each in submissions)
    settings = repo.settings
    if found.pending >= settings.max_pending:
        detail = f"{found.pending} changesets are committed and not merged (max_pending)"
        raise too_many(detail, settings.retry_after)
    if found.queued + count > settings.max_queued:
        raise too_many(f"{found.queued} changesets are queued (max_queued)", settings.retry_after)
    if held and found.held + held > settings.max_held:
        raise too_many(f"{found.held} changesets are held (max_held)", settings.retry_after)
    if slice_id and found.queued_in.get(slice_id, 0) + count > settings.max_queued_per_slice:
        raise too_many(f"{slice_id} has too many queued (max_queued_per_slice)", settings.retry_after)


class _Admitting:
    """One request's submissions, in order."""

    def __init__(self, repo: Repository, found: Admission, bulk: bool, stores: bool) -> None:
        self._repo = repo
        self._found = found
        self._bulk = bulk
        self._stores = stores
        self._coming: dict[str, int] = {}  # by slice: how many of this request it will queue
        self._keys: set[str] = set()
        self._admitted: list[Admitted] = []
        self._positions: dict[int, int] = {}  # of a submission in the request: of its item in the intake
        self._submissions: Sequence[Submission | Problem] = ()
        self._fingerprints: dict[int, str] = {}  # by position
        self._put_by_id = 0  # bytes of the contents
        self._bases_left = MAX_BASES  # that are still looked up
        self._kinds: dict[ObjectId, Described] = {}  # of the contents that are put by id

    def all(self, submissions: Sequence[Submission | Problem]) -> list[Admitted]:
        self._submissions = submissions
        self._kinds = self._kinds_by_id()
        for position, submission in enumerate(submissions):
            breathe()
            try:
                outcome: Admitted = submission if isinstance(submission, Problem) else self._one(submission, position)
            except Problem as problem:
                outcome = problem
            if isinstance(outcome, Item):
                self._positions[position] = len(self._positions)
            self._admitted.append(outcome)
        return self._admitted

    def _one(self, submission: Submission, position: int) -> Item | Duplicate:
        at = f"changesets[{position}]." if self._bulk else ""
        where = self._found.slices.get(submission.slice)
        if where is None:
            self._require_recovered()
            raise not_found("slice", submission.slice)
        for i, change in enumerate(submission.changes):
            breathe()
            if not covers(where.paths, change.path):
                self._require_recovered()
                raise invalid(f"{at}changes[{i}].path", f"is not in the slice {where.name}")
        fingerprint = self._fingerprint(position) if submission.key else ""
        if submission.key:
            repeat = self._repeat(submission.key, fingerprint, at)
            if repeat:
                return repeat
        base = self._base(submission, at)
        self._check_bases(submission, at)
        if self._stores:
            self._check_queue(submission.slice)
        oids, blobs = self._blobs(submission.changes, at)
        return Item(
            replace(submission, base=base, author_name=None, author_email=None, author_time=None, author_zone=0),
            where.id,
            self._author(submission),
            oids,
            blobs,
            fingerprint,
        )

    def _require_recovered(self) -> None:
        """Raise Recovering unless Redis is recovered: something that it lacks may stand in the log."""
        if not self._found.recovered:
            raise Recovering("the view may be behind the log")

    def _fingerprint(self, position: int) -> str:
        """Return an item's fingerprint; in the place of a base by position stands the fingerprint of that item.

        A number says nothing by itself: with another item there, the request is another one.
        """
        chain = [position]  # each on the next one; in a loop, since it may be as long as the request
        while chain[-1] not in self._fingerprints:
            below = self._submissions[chain[-1]]
            if isinstance(below, Problem) or not isinstance(below.base, ItemBase):
                break
            chain.append(below.base.position)
        for each in reversed(chain):
            submission = self._submissions[each]
            if each not in self._fingerprints and isinstance(submission, Submission):
                where = self._found.slices.get(submission.slice)
                base: object = submission.base
                if isinstance(base, ItemBase):
                    base = ("item", self._fingerprints.get(base.position))
                self._fingerprints[each] = _fingerprint(submission, base, where.id if where else submission.slice)
        return self._fingerprints[position]

    def _repeat(self, key: str, fingerprint: str, at: str) -> Duplicate | None:
        if key in self._keys:
            raise invalid(f"{at}idempotency_key", "is given twice in this request")
        self._keys.add(key)
        owner = self._found.keys.get(key)
        if owner is None:
            return None
        if owner[1] != fingerprint:
            raise key_reused()
        return Duplicate(owner[0])

    def _base(self, submission: Submission, at: str) -> Base:
        base = submission.base
        if isinstance(base, CommitBase):
            oid = ObjectId(base.oid)
            try:
                self._repo.confirmed(lambda: self._repo.objects.commit(oid))
            except (ObjectMissing, CorruptObject):
                raise invalid(f"{at}base", f"{oid.hex()} is no commit of this repository") from None
        if isinstance(base, ChangesetBase) and base.id not in self._found.bases:
            raise invalid(f"{at}base", f"{base.id} is no changeset of this repository")
        if isinstance(base, ItemBase):
            if base.position in self._positions:
                return ItemBase(self._positions[base.position])
            before = self._admitted[base.position]
            if isinstance(before, Duplicate):
                return ChangesetBase(before.changeset)
            raise invalid(f"{at}base", f"item {base.position} was refused")
        return base

    def _check_queue(self, name: str) -> None:
        settings = self._repo.settings
        coming = self._coming[name] = self._coming.get(name, 0) + 1
        queued = self._found.queued_in[name]
        if queued + coming > settings.max_queued_per_slice:
            raise too_many(f"{queued} changesets of {name} are queued (max_queued_per_slice)", settings.retry_after)

    def _author(self, submission: Submission) -> Ident:
        settings = self._repo.settings
        now = int(time.time()) if submission.author_time is None else submission.author_time
        if submission.author_name is None or submission.author_email is None:
            return Ident(settings.committer_name, settings.committer_email, now, submission.author_zone)
        return Ident(submission.author_name, submission.author_email, now, submission.author_zone)

    def _check_bases(self, submission: Submission, at: str) -> None:
        """Refuse what no file's version can be, in a base by versions: an id that is stored here as another kind.

        Only so many are looked up; any other is decided as one that is not stored here.
        """
        given = [
            (i, ObjectId(change.base))
            for i, change in enumerate(submission.changes)
            if change.base and change.mode != SUBMODULE_MODE
        ][: self._bases_left]
        self._bases_left -= len(given)
        kinds = self._repo.kinds.of(oid for _, oid in given)
        for i, oid in given:
            if oid not in kinds or kinds[oid].kind == Kind.BLOB:
                continue
            # It may be a submodule's pointer: of a repository that has itself as a submodule, say.
            path = submission.changes[i].path
            with self._repo.queue.consistent_read():
                stands = lookup(self._repo.objects.tree, _oid(self._repo.view.head().root), path)
            if stands is None or stands.mode != SUBMODULE_MODE:
                kind = kinds[oid].kind.name.lower()
                raise invalid(f"{at}changes[{i}].base", f"{oid.hex()} is a {kind}, and no version of a file")

    def _blobs(
        self, changes: Sequence[Change], at: str
    ) -> tuple[tuple[ObjectId | None, ...], dict[ObjectId, tuple[bytes, int]]]:
        """Return the id of each change's content, and the blobs that go into the pack.

        A content that is put by id does not: the log has it, and never gives anything up.
        """
        oids: list[ObjectId | None] = []
        blobs: dict[ObjectId, tuple[bytes, int]] = {}
        for i, change in enumerate(changes):
            breathe()
            if _by_id(change):
                self._check_stored(change, f"{at}changes[{i}].id")
            if change.content is None:
                oids.append(ObjectId(change.oid) if change.oid else None)
            else:
                oid, stored = blob(change.content)
                oids.append(oid)
                blobs[oid] = stored
        return tuple(oids), blobs

    def _kinds_by_id(self) -> dict[ObjectId, Described]:
        """Return what the contents are that this request puts by id, of those that are stored for sure.

        All at once, and before anything else that is large about it: others have its turn while the bucket answers.
        """
        new = [
            each
            for each in self._submissions
            if isinstance(each, Submission) and (each.key is None or each.key not in self._found.keys)
        ]
        changes = [change for each in new for change in each.changes]
        wanted = {ObjectId(change.oid) for change in changes if change.oid and _by_id(change)}
        seen = [ObjectId(change.base) for change in changes if change.base and change.mode != SUBMODULE_MODE]
        with without_turn():
            found = self._repo.kinds.of(wanted)
            if len(found) < len(wanted):
                with self._repo.queue.consistent_read():
                    found |= self._repo.kinds.of(wanted - found.keys())
            self._repo.kinds.of(seen[:MAX_BASES])  # which is remembered for _check_bases
        return found

    def _check_stored(self, change: Change, field: str) -> None:
        """Check a content that is put by id: its kind and size, and its bytes where a checkout or fsck judges them."""
        assert change.oid is not None
        oid = ObjectId(change.oid)
        if oid not in self._kinds:
            raise invalid(field, f"{oid.hex()} is not stored here")
        kind, size = self._kinds[oid]
        if kind != Kind.BLOB:
            raise invalid(field, f"{oid.hex()} is no blob")
        most = self._repo.settings.max_body_bytes
        self._put_by_id += size
        if self._put_by_id > most:
            raise invalid(field, f"with it, contents put by id in this request exceed {most} bytes (max_body_bytes)")
        if not needs_content(change.path, change.mode):
            return
        if size > MAX_JUDGED_BYTES:
            raise invalid(field, f"has {size} bytes; at {change.path.decode()}, one put by id has {MAX_JUDGED_BYTES}")
        try:
            check_content(change.path, change.mode, self._repo.confirmed(lambda: self._repo.objects.blob(oid)))
        except ContentError as error:
            raise invalid(field, str(error)) from None


def _by_id(change: Change) -> bool:
    """Tell whether a change puts a content that is stored already."""
    return change.op == "put" and change.content is None and change.mode != SUBMODULE_MODE


def _fingerprint(submission: Submission, base: object, slice_id: str) -> str:
    """Return what tells a repeat from another request with the same idempotency key."""
    hasher = sha256()
    identity = (slice_id, base, submission.author_name, submission.author_email, submission.author_time)
    hasher.update(repr((*identity, submission.author_zone, submission.message)).encode())
    for change in submission.changes:
        breathe()
        content = in_thread_if_large(_sha256, change.content) if change.content is not None else None
        hasher.update(repr((change.op, change.path, change.mode, content, change.oid, change.base)).encode())
        if change.strategy != Strategy.MERGE:
            hasher.update(change.strategy.encode())
    if submission.hold:
        hasher.update(b"hold")
    return hasher.hexdigest()[:32]


def _oid(text: str) -> ObjectId:
    return ObjectId(bytes.fromhex(text))


def _sha256(content: bytes) -> bytes:
    return sha256(content).digest()
