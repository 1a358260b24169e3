"""Admission: whether well-formed submissions can be accepted, given what is stored and queued.

One call to Redis answers for a whole bulk request. Besides that, only base commits that are new to this process and the
first bytes of objects that are given by id are read. checks.py has the checks that need no reads.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import NamedTuple

from msgspec import structs

from app.access.caller import EVERYBODY, Caller
from app.access.visibility import visible
from app.intake.checks import (
    check_author,
    check_base,
    check_capacity,
    check_key,
    check_priority,
    check_queue,
    check_slice,
    check_stored,
    keys_of,
    puts_by_id,
)
from app.intake.fingerprints import Fingerprints
from app.intake.packing import Item
from app.intake.refusals import FieldRefused
from app.protocol.changesets.submissions import Base, ChangesetBase, CommitBase, ItemBase, Submission, field_of
from app.shares.limits import check_queued, is_limited, limits_of
from storage.backends.turns import breathe, without_turn
from storage.base.errors import LimitReached, Recovering, Refused
from storage.base.ids import ChangesetId, ObjectId, SliceId, oid_of
from storage.base.settings import Settings
from storage.git.fsck import ContentError, check_content, needs_content
from storage.git.objects import SUBMODULE_MODE, CorruptObject, Ident, Kind
from storage.git.paths import as_text, is_text, recorded_path
from storage.git.trees import lookup, lookup_many
from storage.log.entry import GIT_FORMAT
from storage.log.records import Submitter
from storage.lookup.object_kinds import Described
from storage.lookup.object_store import ObjectMissing
from storage.operations.access import OlderNodes
from storage.queue import Admission
from storage.repository import Repository

MAX_BASES = 1000
"""Ids of versions seen, in one request, of which it is looked up what they are."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A repeat of a changeset that was accepted before."""

    changeset: ChangesetId


class Judged(NamedTuple):
    """A submission that can be taken, without its contents as packs store them."""

    submission: Submission
    slice: SliceId
    author: Ident
    fingerprint: str


Admitted = Item | Duplicate | Refused | LimitReached
Asked = Sequence[Submission | Refused]
"""The submissions of a request, in order; in the place of one that is not well-formed stands its refusal."""
LookUp = Callable[[Sequence[str], Sequence[str], Sequence[str], Sequence[str]], Admission]
"""How slices, bases, idempotency keys and principals are looked up: as Queue.admit does."""


def admit(
    repo: Repository,
    submissions: Asked,
    look_up: LookUp | None = None,
    who: Caller = EVERYBODY,
    by: Submitter | None = None,
) -> list[Admitted]:
    """Return for each submission what it has become: ready for the intake, a repeat, or refused.

    They are of a caller, whom the log calls `by`. `look_up` is Queue.admit, or shares its calls with other requests
    (app/intake/lookups.py). Raises what holds for the whole request, of which nothing has been taken: LimitReached
    where there is no room for it, and other Unavailable, such as Recovering where it is not known yet whether something
    is there.
    """
    limited = [who.principal] if is_limited(who) else []
    limits = limits_of(repo.settings, who)
    if (lacking := _needs_git_format(submissions)) and not repo.nodes.all_read(GIT_FORMAT):
        raise OlderNodes(f"a worker of an older version is at work, which knows no {lacking}: upgrade it first")
    admission = _look_up(look_up or repo.queue.admit, submissions, limited)
    check_capacity(repo.settings, admission, _valid(submissions))
    request = _Request(repo, admission, submissions, who)
    coming = Counter[str]()  # by slice: how many of this request it will queue
    for position, submission in enumerate(submissions):
        breathe()
        try:
            if isinstance(submission, Refused):
                raise submission
            outcome: Admitted | Judged = request.judge(position)
            if isinstance(outcome, Judged):
                coming[submission.slice] += 1
                check_queue(repo.settings, admission, submission.slice, coming[submission.slice])
                check_queued(limits, who, admission.waiting_of.get(who.principal, 0), coming.total())
                outcome = Item.of(*outcome, by)
        except (Refused, LimitReached) as refusal:
            outcome = refusal
        request.add(outcome)
    return request.admitted


def admit_to_check(
    repo: Repository, submission: Submission, who: Caller = EVERYBODY, by: Submitter | None = None
) -> Item:
    """Return what the intake would take of a submission without a key, however much waits. Raises as `admit` does."""
    judged = _Request(repo, _look_up(repo.queue.admit, [submission]), [submission], who).judge(0)
    assert isinstance(judged, Judged)
    return Item.of(*judged, by)


def _needs_git_format(submissions: Asked) -> str:
    """Return what of these submissions an older version would not understand; nothing, as a rule."""
    for submission in _valid(submissions):
        for change in submission.changes:
            if change.source is not None:
                return "moves"
            if not change.path.isascii() and not is_text(recorded_path(change.path)):
                return "paths but such in UTF-8"
    return ""


def _valid(submissions: Asked) -> list[Submission]:
    return [submission for submission in submissions if isinstance(submission, Submission)]


def _look_up(look_up: LookUp, submissions: Asked, principals: Sequence[str] = ()) -> Admission:
    valid = _valid(submissions)
    return look_up(
        list(dict.fromkeys(submission.slice for submission in valid)),
        list(dict.fromkeys(submission.base.id for submission in valid if isinstance(submission.base, ChangesetBase))),
        list(dict.fromkeys(chain.from_iterable(keys_of(submission.key) for submission in valid))),
        principals,
    )


class _Request:
    """One request's submissions, and what became of them so far."""

    def __init__(self, repo: Repository, admission: Admission, submissions: Asked, who: Caller) -> None:
        self.admitted: list[Admitted] = []
        self._who = who
        self._reads_all = who.reads_all
        self._roots: list[ObjectId] | None = None
        self._repo = repo
        self._admission = admission
        self._submissions = submissions
        self._fingerprints = Fingerprints(submissions, admission.slices)
        self._positions: dict[int, int] = {}  # of a submission in the request: of its item in the intake
        self._keys: set[str] = set()
        self._put_by_id = 0  # bytes of the contents
        self._bases_left = MAX_BASES  # that are still looked up
        bases = [submission.base for submission in _valid(submissions)]
        stacked = [ChangesetId(base.id) for base in bases if isinstance(base, ChangesetBase)]
        self._check_visible(stacked)
        unknown = set(stacked) - admission.bases
        if unknown and (not admission.recovered or repo.inbox.holds(sorted(unknown))):
            raise Recovering("changesets are being looked for")
        self._kinds = self._kinds_by_id()  # of the contents that are put by id

    def add(self, outcome: Admitted) -> None:
        """Take what the next submission has become."""
        if isinstance(outcome, Item):
            self._positions[len(self.admitted)] = len(self._positions)
        self.admitted.append(outcome)

    def judge(self, position: int) -> Judged | Duplicate:
        """Return what the next submission is, as far as it can be taken. Raises Refused and Unavailable."""
        submission = self._submissions[position]
        assert isinstance(submission, Submission)
        where = check_slice(self._admission, submission, self._who)
        fingerprint = ""
        if submission.key:
            fingerprint = self._fingerprints.of(position)
            if submission.key in self._keys:
                raise FieldRefused("idempotency_key", "is given twice in this request")
            self._keys.add(submission.key)
            if owner := check_key(self._admission, keys_of(submission.key), fingerprint):
                return Duplicate(owner)
        base = self._base(submission)
        if not self._reads_all:
            self._check_ids(submission)
        self._check_versions(submission)
        self._check_contents(submission)
        check_author(submission, self._who)
        check_priority(submission, self._who)
        author = _author(submission, self._repo.settings, self._who)
        taken = structs.replace(
            submission, base=base, author_name=None, author_email=None, author_time=None, author_zone=0
        )
        return Judged(taken, where.id, author, fingerprint)

    def _base(self, submission: Submission) -> Base:
        """Return the base as the intake takes it: positions are those of its items alone."""
        check_base(self._admission, submission)
        base = submission.base
        if isinstance(base, CommitBase):
            oid = ObjectId(base.oid)
            try:
                self._repo.confirmed(lambda: self._repo.objects.commit(oid))
            except (ObjectMissing, CorruptObject):
                raise FieldRefused("base", f"{oid.hex()} is no commit of this repository") from None
        if not isinstance(base, ItemBase):
            return base
        if base.position in self._positions:
            return ItemBase(self._positions[base.position])
        before = self.admitted[base.position]
        if isinstance(before, Duplicate):
            return ChangesetBase(before.changeset)
        if isinstance(before, LimitReached):
            raise before  # all that stands on an item waits for the same
        raise FieldRefused("base", f"item {base.position} was refused")

    def _check_visible(self, stacked: Sequence[ChangesetId]) -> None:
        """Refuse bases that are changesets of which the caller may not know."""
        if not stacked or self._reads_all:
            return
        states = dict(zip(stacked, self._repo.queue.states(stacked)[1], strict=True))
        hidden = set(stacked) - visible(self._repo, self._who, states)
        if hidden:
            self._admission = replace(self._admission, bases=self._admission.bases - hidden)

    def _check_ids(self, submission: Submission) -> None:
        """Refuse ids of what the caller may not read for sure: what stands at that very path it may, and no other.

        An id is no right to bytes: a diff or a conflict would show what it names.
        """
        given = [
            (change.path, ObjectId(oid), field_of(submission.changes, i, field))
            for i, change in enumerate(submission.changes)
            for field, oid in (("id", change.oid if puts_by_id(change) else None), ("base", change.base))
            if oid
        ]
        if not given:
            return
        if self._roots is None:
            head = self._repo.view.head()
            self._roots = [oid_of(head.root), oid_of(head.main_tree)]
        roots = list(self._roots)
        if isinstance(submission.base, CommitBase):
            roots.append(self._repo.objects.commit(ObjectId(submission.base.oid)).tree)
        paths = [path for path, _, _ in given]
        stands = [lookup_many(self._repo.objects.tree, root, paths) for root in dict.fromkeys(roots)]
        for path, oid, field in given:
            if not any((version := known.get(path)) and version.oid == oid for known in stands):
                detail = f"{oid.hex()} is not what stands at {as_text(path)}; only readers of / may give others"
                raise FieldRefused(field, detail)

    def _check_versions(self, submission: Submission) -> None:
        """Refuse what no file's version can be, in a base by versions: an id that is stored here as another kind.

        Only so many are looked up; any other is treated as an id that is not stored here.
        """
        given = [
            (i, ObjectId(change.base))
            for i, change in enumerate(submission.changes)
            if change.base and change.mode != SUBMODULE_MODE
        ][: self._bases_left]
        if not given:
            return
        self._bases_left -= len(given)
        kinds = self._repo.kinds.of(oid for _, oid in given)
        for i, oid in given:
            if oid not in kinds or kinds[oid].kind == Kind.BLOB:
                continue
            # It may be a submodule's pointer: of a repository that has itself as a submodule, say.
            path = submission.changes[i].path
            with self._repo.queue.consistent_read():
                stands = lookup(self._repo.objects.tree, oid_of(self._repo.view.head().root), path)
            if stands is None or stands.mode != SUBMODULE_MODE:
                kind = kinds[oid].kind.name.lower()
                field = field_of(submission.changes, i, "base")
                raise FieldRefused(field, f"{oid.hex()} is a {kind}, and no version of a file")

    def _check_contents(self, submission: Submission) -> None:
        """Check what is put by id: its kind and size, and its bytes where a checkout or fsck judges them."""
        most = self._repo.settings.max_body_bytes
        for i, change in enumerate(submission.changes):
            if not puts_by_id(change) or change.oid is None:
                continue
            breathe()
            oid, field = ObjectId(change.oid), f"changes[{i}].id"
            self._put_by_id += check_stored(change, self._kinds.get(oid), field)
            if self._put_by_id > most:
                detail = f"with it, contents put by id in this request exceed {most} bytes (max_body_bytes)"
                raise FieldRefused(field, detail)
            if not needs_content(change.path, change.mode):
                continue
            try:
                check_content(change.path, change.mode, self._repo.confirmed(partial(self._repo.objects.blob, oid)))
            except ContentError as error:
                raise FieldRefused(field, str(error)) from None

    def _kinds_by_id(self) -> dict[ObjectId, Described]:
        """Return what the contents are that this request puts by id, of those that are stored for sure.

        All at once, and before anything else that is large about it: others have its turn while the bucket answers.
        """
        new = [submission for submission in _valid(self._submissions) if submission.key not in self._admission.keys]
        changes = [change for submission in new for change in submission.changes]
        wanted = {ObjectId(change.oid) for change in changes if change.oid and puts_by_id(change)}
        seen = [ObjectId(change.base) for change in changes if change.base and change.mode != SUBMODULE_MODE]
        if not wanted and not seen:
            return {}
        with without_turn():
            kinds = self._repo.kinds.of(wanted)
            if len(kinds) < len(wanted):
                with self._repo.queue.consistent_read():
                    kinds |= self._repo.kinds.of(wanted - kinds.keys())
            self._repo.kinds.of(seen[:MAX_BASES])  # which is remembered for _check_versions
        return kinds


def _author(submission: Submission, settings: Settings, who: Caller) -> Ident:
    now = int(time.time()) if submission.author_time is None else submission.author_time
    if submission.author_name is None or submission.author_email is None:
        if who.person:
            return Ident(who.person.name, who.person.emails[0], now, submission.author_zone)
        return Ident(settings.committer_name, settings.committer_email, now, submission.author_zone)
    return Ident(submission.author_name, submission.author_email, now, submission.author_zone)
