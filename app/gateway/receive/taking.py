"""Taking a push: which changesets its commits become, and having them accepted, all or none.

A linear range becomes a stack, one changeset a commit. A range with merges in it, or one that is to be squashed,
becomes one changeset against its base. What was pushed before is known by its commits' ids, and never submitted again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from msgspec import structs

from app.access.caller import Caller
from app.gateway.receive import outcomes
from app.gateway.receive.commits import SHOWN_DIGITS, NoCommonBase, PushedCommit, Range, TooManyCommits, new_commits
from app.gateway.receive.everything import ROOT_PATH, slice_of_everything
from app.gateway.receive.known import Known, KnownCommits, is_own
from app.gateway.receive.options import Options
from app.gateway.receive.received import Received
from app.gateway.receive.submissions import Submissions
from app.intake.admission import Duplicate, admit
from app.intake.intake import Accepted, Intake
from app.intake.lookups import Lookups
from app.intake.packing import Item
from app.protocol.changesets.submissions import Base, ChangesetBase, CommitBase, ItemBase, Submission
from app.shares.limits import QuotaReached
from storage.access.policy import Right
from storage.backends import deadline
from storage.base.errors import LimitReached, Refused
from storage.base.ids import ChangesetId, ObjectId
from storage.log.records import Actor, Status, Submitter
from storage.queue import ChangesetState
from storage.repository import Repository
from storage.view.snapshot import Slice


class Store(Protocol):
    """A clone store, and what follows the log for it."""

    @property
    def path(self) -> Path:
        """The bare repository."""

    def chain_of(self, own: ObjectId, /) -> ObjectId | None:
        """Return the commit of the chain that one of the store's commits stands for."""

    def newest(self) -> ObjectId | None:
        """Return the newest commit that it has."""

    def make_current(self) -> None:
        """Have it follow to where the view is now. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class Pusher:
    """Who pushes: the caller, and how the log names it."""

    who: Caller
    submitter: Submitter | None = None
    actor: Actor | None = None


def check_may_push(who: Caller, where: Slice | None) -> None:
    """Raise NotAllowed where a caller may write nothing in a slice, or, with None, not the whole repository.

    What of a push it may write, admission judges by the paths that the push changes.
    """
    paths = [ROOT_PATH] if where is None else sorted(where.paths)
    if where is None or not who.may_somewhere(Right.WRITE, paths):
        who.require(Right.WRITE, paths)


@dataclass(frozen=True, slots=True)
class Taken:
    """The commits of a push with their changesets, oldest first, and what its user should know."""

    commits: tuple[tuple[PushedCommit, Known], ...]
    notes: tuple[str, ...] = ()


class Taking:
    """Takes the pushes of one process. Safe for threads."""

    def __init__(self, repo: Repository, lookups: Lookups, intake: Intake, known: KnownCommits) -> None:
        self._repo = repo
        self._lookups = lookups
        self._intake = intake
        self._known = known

    def take(
        self,
        incoming: Received,
        store: Store,
        where: Slice | None,
        pusher: Pusher,
        options: Options,
        tip: ObjectId,
    ) -> Taken:
        """Have the new commits up to `tip` accepted. Raises Refused, and nothing is; and Unavailable.

        `where` is None for the whole repository.
        """
        if where is None:
            pusher.who.require(Right.WRITE, [ROOT_PATH])
            where = slice_of_everything(self._repo, pusher.actor)
        budget = partial(deadline.budget, "request_budget", self._repo.settings.request_budget)
        with self._intake.gathering.coming(), budget():
            try:
                planned = self._plan(incoming, store, where, pusher, options, tip)
            except (NoCommonBase, TooManyCommits):
                planned = None
        incoming.check()
        if planned is None or self._may_have_landed(planned, store):
            store.make_current()
        with self._intake.gathering.coming(), budget():
            if planned is None or any(store.chain_of(commit.oid) for commit in planned.commits):
                planned = self._plan(incoming, store, where, pusher, options, tip)
            admitted = self._admit(planned.submissions, pusher)
        pushed = {_pushed_oid(each) for each in planned.submissions}
        new = [commit for commit in planned.commits if commit.oid in pushed]
        with budget():
            accepted = self._accept(admitted, options.hold)
        return Taken((*planned.told, *zip(new, accepted, strict=True)), planned.notes)

    def _may_have_landed(self, planned: _Planned, store: Store) -> bool:
        """Tell whether some of the new commits may be the slice's own that the store has not yet.

        Behind an import, which a store has had from its beginning, a slice's commits are a line. What stands on any of
        them but the newest is none of them: the store has the one that follows there.
        """
        return bool(planned.commits) and (planned.has_merges or planned.base == store.newest())

    def _plan(
        self, incoming: Received, store: Store, where: Slice, pusher: Pusher, options: Options, tip: ObjectId
    ) -> _Planned:
        range_ = new_commits(
            tip, incoming.commit, lambda oid: store.chain_of(oid) is not None, incoming.merge_base,
            self._repo.settings.max_push_commits,
        )  # fmt: skip
        if not range_.commits:
            return _Planned((), notes=(f"{tip.hex()[:SHOWN_DIGITS]} has landed, as it is",))
        chain = store.chain_of(range_.base)
        if chain is None:
            raise NoCommonBase
        return _Plan(self._repo, self._known, incoming, where, pusher.who, options).of(range_, chain)

    def _admit(self, submissions: Sequence[Submission], pusher: Pusher) -> list[Item | Duplicate]:
        """Admit all submissions of a push, or refuse it with the reason of the first that cannot be."""
        if not submissions:
            return []
        try:
            judged = admit(self._repo, submissions, self._lookups.admission, pusher.who, pusher.submitter)
        except LimitReached as error:
            raise _shown(error, pusher.who) from error
        admitted: list[Item | Duplicate] = []
        for submission, outcome in zip(submissions, judged, strict=True):
            if isinstance(outcome, LimitReached):
                raise _shown(outcome, pusher.who)
            if isinstance(outcome, Refused):
                raise Refused(f"{_pushed_oid(submission).hex()[:SHOWN_DIGITS]}: {outcome}") from outcome
            admitted.append(outcome)
        return admitted

    def _accept(self, admitted: Sequence[Item | Duplicate], hold: bool) -> list[Known]:
        items = [each for each in admitted if isinstance(each, Item)]
        accepted = iter(self._intake.accept(items) if items else [])
        repeats = self._known.states([each.changeset for each in admitted if isinstance(each, Duplicate)])
        return [
            self._known.settled(each.changeset, repeats[each.changeset])
            if isinstance(each, Duplicate)
            else _just_accepted(next(accepted), hold)
            for each in admitted
        ]


@dataclass(frozen=True, slots=True)
class _Planned:
    """What is to be done with the new commits of a push."""

    commits: tuple[PushedCommit, ...]
    told: tuple[tuple[PushedCommit, Known], ...] = ()  # what is known already
    submissions: tuple[Submission, ...] = ()
    notes: tuple[str, ...] = ()  # for its user
    base: ObjectId | None = None  # the store's commit on which they stand
    has_merges: bool = False


class _Plan:
    """Finds out what is to be submitted of one push."""

    def __init__(
        self, repo: Repository, known: KnownCommits, incoming: Received, where: Slice, who: Caller, options: Options
    ) -> None:
        self._known = known
        self._incoming = incoming
        self._where = where
        self._who = who
        self._options = options
        self._make = Submissions(incoming, where, options, repo.settings)
        self._replaced: set[ChangesetId] = set()

    def of(self, range_: Range, chain: ObjectId) -> _Planned:
        """Return what is known already of a range, and what is to be submitted."""
        commits = range_.commits
        joined = range_.has_merges or (self._options.squash and len(commits) > 1)
        if joined:
            commits = commits[-1:]  # by which the whole is known
        found, free = self._known.find([commit.oid for commit in commits])
        told = [(commit, found[commit.oid]) for commit in commits if commit.oid in found]
        conflicts = [known for _, known in told if known.status == Status.CONFLICTED]
        if conflicts and not self._options.says_how:
            return _Planned(range_.commits, tuple(told), base=range_.base, has_merges=range_.has_merges)
        good = [i for i, commit in enumerate(commits) if commit.oid in found and self._is_good(found[commit.oid])]
        first = good[-1] + 1 if good else 0
        new = commits[first:]
        before = commits[first - 1] if first else self._incoming.commit(range_.base)
        base: Base = ChangesetBase(found[commits[first - 1].oid].changeset) if first else CommitBase(chain)
        notes: tuple[str, ...] = ()
        if joined and new:
            what = "has merges in it" if range_.has_merges else "is squashed"
            notes = (f"the range {what}: its {len(range_.commits)} commits become one changeset",)
            made = [self._make.joined(range_, before, base)]
        else:
            bases = [base, *map(ItemBase, range(len(new) - 1))]
            made = list(self._make.each(new, before, bases))
        before_these = tuple((commit, known) for commit, known in told if commit not in new)
        keyed = tuple(self._keyed(each, found, free) for each in made)
        return _Planned(range_.commits, before_these, keyed, notes, range_.base, range_.has_merges)

    def _is_good(self, known: Known) -> bool:
        return known.status in outcomes.GOOD

    def _keyed(self, submission: Submission, found: dict[ObjectId, Known], free: dict[ObjectId, str]) -> Submission:
        """Return a submission with its key, and with the conflict whose place it takes."""
        oid = _pushed_oid(submission)
        if oid in found:
            known = found[oid]
            resolves = known.changeset if self._may_replace(known, submission) else None
        else:
            resolves = self._known.conflict_before(submission, self._where, self._who)
        if resolves in self._replaced:
            resolves = None
        elif resolves:
            self._replaced.add(resolves)
        return structs.replace(submission, key=free[oid], resolves=resolves)

    def _may_replace(self, known: Known, submission: Submission) -> bool:
        """Tell whether a caller may take the place of a conflict: its own, or as a maintainer of the paths."""
        paths = [change.path for change in submission.changes]
        return is_own(known.state.outcome, self._who) or self._who.may(Right.MAINTAIN, paths)


def _shown(error: LimitReached, who: Caller) -> LimitReached:
    """Return a limit that is reached as a caller may know of it: its own, or without the counts of others."""
    if who.reads_all or isinstance(error, QuotaReached):
        return error
    return LimitReached("too much is waiting; push again later")


def _pushed_oid(submission: Submission) -> ObjectId:
    assert submission.pushed
    return ObjectId(bytes.fromhex(submission.pushed.commit))


def _just_accepted(accepted: Accepted, hold: bool) -> Known:
    changeset = accepted.changeset
    state = ChangesetState(None, changeset.slice, accepted.position, 0, held=hold)
    return Known(changeset.id, state, Status.HELD if hold else Status.QUEUED)
