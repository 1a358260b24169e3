"""Lists of changesets by what is known of them: who submitted or wrote them, what they change, their labels.

One filter is the key by which the view finds them (storage/log/facts.py); what is found is narrowed by the others.
Where history has left the view, and where no filter is a key, the log's records themselves are looked through, a
limited number of entries at a time (storage/operations/history.py). Decided changesets are in the order of the log; the
undecided, in the order of their ids, stand behind them: they are decided later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import merge

from storage.base.errors import ViewStale
from storage.base.ids import ChangesetId, Seq, ulid_seconds
from storage.git.paths import raw_path
from storage.log.entry import SLOTS, Commits, GlobalCommit, decode, log_position
from storage.log.facts import digest_of, label_value
from storage.log.records import Decided, Decision, Facts, Outcome, Status
from storage.operations import history
from storage.operations.history import Listed
from storage.queue import ChangesetState
from storage.repository import Repository
from storage.view.lists import Positions

TOP = log_position(1 << 39, 0)
"""A position in the log behind all."""

_OUTCOMES = {
    Status.COMMITTED: Status.COMMITTED, Status.LANDED: Status.COMMITTED, Status.CONFLICTED: Status.CONFLICTED,
    Status.REJECTED: Status.REJECTED, Status.ABANDONED: Status.ABANDONED,
}  # fmt: skip
UNDECIDED = {Status.QUEUED: False, Status.HELD: True}
"""The statuses without an outcome, and whether they are held."""
# By how much the clock of an API process may be ahead of that of a worker (seconds).
_SKEW = 600.0
# Entries in which the global commits of archived changesets are looked for, and how many are read at once.
_LOOKED_BEHIND, _READ_TOGETHER = 64, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which changesets a list has; None of a field: any."""

    slice: str | None = None  # an id
    status: Status | None = None
    submitter: str | None = None
    author: str | None = None  # an e-mail
    label: tuple[str, str] | None = None
    path: str | None = None
    since: float | None = None  # submitted at this time or later, in seconds

    @property
    def digest(self) -> bytes | None:
        """The digest by which they are found."""
        if self.path is not None:
            return digest_of("path", self.path)
        if self.label is not None:
            return digest_of("label", label_value(*self.label))
        if self.author is not None:
            return digest_of("author", self.author)
        return digest_of("submitter", self.submitter) if self.submitter is not None else None

    @property
    def outcome(self) -> Status | None:
        """The status that records have; None: any."""
        return _OUTCOMES.get(self.status) if self.status is not None else None

    @property
    def is_narrow(self) -> bool:
        """Whether what is found by the digest, or by the slice and the status, has to be looked at."""
        if self.path is not None:
            return True  # a file's undecided changesets are found by a hash
        keys = sum(each is not None for each in (self.label, self.author, self.submitter))
        beside = self.since is not None or (keys and (self.slice is not None or self.status is not None))
        return bool(beside) or keys > 1

    def has(self, changeset: str, state: ChangesetState) -> bool:
        """Tell whether a changeset that was found by one filter passes the others."""
        if state.outcome is not None:
            return self._has_outcome(changeset, state.outcome, state.through)
        told = state.told
        if state.slice is None or self.outcome is not None:
            return False
        if self.status is not None and UNDECIDED[self.status] != state.held:
            return False
        submitter, facts = (told.by, told.facts) if told else ("", None)
        found = self._has(changeset, state.slice, submitter, facts)
        return found and self._may_name(told.covers if told else (), facts)

    def _may_name(self, covers: tuple[str, ...], facts: Facts | None) -> bool:
        """Tell whether what was found by a path may change it: where the paths are few, all are named."""
        return self.path is None or facts is None or facts.paths > 0 or self.path in covers

    def _has_outcome(self, changeset: str, outcome: Outcome, through: int) -> bool:
        if self.status is not None:
            landed = outcome.status == Status.COMMITTED and outcome.seq <= through
            if self.status != (Status.LANDED if landed else outcome.status):
                return False
        return self._has_decided(changeset, outcome) and self._may_name(outcome.covers, outcome.facts)

    def has_record(self, record: Decided) -> bool:
        """Tell whether the list has a changeset, given its record; whether it has landed is for the caller to know."""
        if self.outcome is not None and record.status != self.outcome:
            return False
        return self._has_decided(record.id, record) and (
            self.path is None
            or record.touches(self.path)
            or any(conflict.path == self.path for conflict in record.conflicts)
        )

    def _has_decided(self, changeset: str, decided: Decision) -> bool:
        return self._has(changeset, decided.slice, decided.by.principal if decided.by else "", decided.facts)

    def _has(self, changeset: str, slice_id: str, submitter: str, facts: Facts | None) -> bool:
        return (
            (self.slice is None or slice_id == self.slice)
            and (self.submitter is None or submitter == self.submitter)
            and (self.author is None or (facts is not None and facts.author[1] == self.author))
            and (self.label is None or (facts is not None and facts.labels.get(self.label[0]) == self.label[1]))
            and (self.since is None or ulid_seconds(changeset) >= self.since)
        )


def undecided(repo: Repository, wanted: Wanted, after: str, limit: int, newest_first: bool) -> list[ChangesetId]:
    """Return undecided changesets behind `after` that a key has found; `Wanted.has` says of each whether it is meant.

    Those with so many files that they lock their slice alone are not found by a path. Raises Unavailable.
    """
    path = raw_path(wanted.path) if wanted.path is not None else None
    digest = None if path is not None else wanted.digest
    held = UNDECIDED.get(wanted.status) if wanted.status is not None else None
    found = repo.queue.undecided(
        after, limit, newest_first, held=held, slice_id=wanted.slice, path=path, digest=digest
    )  # fmt: skip
    return [ChangesetId(each) for each in found]


def decided(repo: Repository, wanted: Wanted, after: int, before: int, limit: int, newest_first: bool) -> Listed:
    """Return decided changesets between two positions in the log, at most `limit`, in its order or newest first.

    Those from the view were found by a key, and `Wanted.has` says of each whether it is meant. Raises Unavailable.
    """
    if wanted.status in (Status.COMMITTED, Status.LANDED):
        landed = log_position(repo.view.head().through, SLOTS - 1)
        if wanted.status == Status.LANDED:
            before = min(before, landed + 1)
        else:
            after = max(after, landed)
    for _ in range(history.TURNS):
        head = repo.view.head()
        last = head.archived if _has_key(wanted) else head.applied
        found = _found(repo, wanted, after, before, last, limit, newest_first)
        if repo.view.head().archived == head.archived or not _has_key(wanted):
            return found
    raise ViewStale("the view goes on while it is listed")


def _found(
    repo: Repository, wanted: Wanted, after: int, before: int, last: int, limit: int, newest_first: bool
) -> Listed:
    """Return what there is in the log up to the entry `last`, and behind it in the view."""
    border = log_position(last, SLOTS - 1)
    if newest_first:
        rows = _in_view(repo, wanted, max(after, border), before, limit, newest_first)
        if len(rows) == limit:
            return Listed(rows, None)
        older, looked = _down_the_log(repo, wanted, after, min(before, border + 1), limit - len(rows))
        return Listed(rows + older, looked)
    rows, looked = _up_the_log(repo, wanted, after, min(before, border + 1), limit)
    if looked is None and len(rows) < limit:
        rows += _in_view(repo, wanted, max(after, border), before, limit - len(rows), newest_first)
    return Listed(rows, looked)


def _has_key(wanted: Wanted) -> bool:
    return wanted.digest is not None or wanted.slice is not None or wanted.outcome == Status.COMMITTED


def _in_view(repo: Repository, wanted: Wanted, after: int, before: int, limit: int, newest_first: bool) -> Positions:
    if not _has_key(wanted) or before <= after + 1:
        return []
    view, digest = repo.view, wanted.digest
    if digest is not None:
        return view.listed(digest, after, before, limit, newest_first)
    if wanted.slice is None:
        return view.committed(after, before - 1, limit, newest_first)
    statuses = {wanted.outcome} if wanted.outcome else set(_OUTCOMES.values())
    lists = [view.decided(wanted.slice, status, after, before - 1, limit, newest_first) for status in sorted(statuses)]
    return list(merge(*lists, key=lambda row: row[1], reverse=newest_first))[:limit]


def _up_the_log(repo: Repository, wanted: Wanted, after: int, before: int, limit: int) -> tuple[Positions, int | None]:
    rows: Positions = []
    first, last = max(1, (after + 1) // SLOTS), (before - 1) // SLOTS
    end = min(last, first + history.MAX_READ - 1)
    for entry in history.read_entries(repo, range(first, end + 1)):
        for index, record in enumerate(entry.decided):
            position = log_position(entry.seq, index)
            if after < position < before and wanted.has_record(record):
                rows.append((record.id, position))
                if len(rows) == limit:
                    return rows, None
    return rows, log_position(end, SLOTS - 1) if end < last else None


def _down_the_log(
    repo: Repository, wanted: Wanted, after: int, before: int, limit: int
) -> tuple[Positions, int | None]:
    rows: Positions = []
    first, last = max(1, (after + 1) // SLOTS), (before - 1) // SLOTS
    end = max(first, last - history.MAX_READ + 1)
    for entry in history.read_entries(repo, range(last, end - 1, -1)):
        if wanted.since is not None and isinstance(entry, Commits) and entry.time < wanted.since - _SKEW:
            return rows, None  # what was decided before was submitted before
        for index in range(len(entry.decided) - 1, -1, -1):
            record, position = entry.decided[index], log_position(entry.seq, index)
            if after < position < before and wanted.has_record(record):
                rows.append((record.id, position))
                if len(rows) == limit:
                    return rows, None
    return rows, log_position(end, 0) if end > first else None


def landed_at(repo: Repository, outcomes: Iterable[Outcome]) -> dict[int, int]:
    """Return when the entries of landed changesets were merged (seconds), by entry, as far as that is known.

    What has left the view is looked for in the entries behind, of which a limited number is read. Raises Unavailable.
    """
    outcomes = list(outcomes)
    known = {outcome.seq: outcome.at for outcome in outcomes if outcome.main}
    others = sorted({outcome.seq for outcome in outcomes} - known.keys())
    archived = []
    for seq, made in zip(others, repo.view.merges_behind(others), strict=True):
        if made is None or not made.first <= seq <= made.through:
            archived.append(seq)
        elif made.time:
            known[seq] = made.time
    return known | _landed_in_log(repo, archived)


def _landed_in_log(repo: Repository, seqs: Sequence[int]) -> dict[int, int]:
    known: dict[int, int] = {}
    left, at = _LOOKED_BEHIND, 0
    merged: GlobalCommit | None = None
    for seq in seqs:
        at = max(at, seq)
        while (merged is None or merged.through < seq) and left > 0:
            some = range(at, at + _READ_TOGETHER)
            made = [entry.global_commit for entry in map(decode, filter(None, repo.log.read_many(map(Seq, some))))]
            merged = next((each for each in made if each and each.through >= seq), None)
            at, left = some.stop if merged is None else merged.seq, left - len(some)
        if merged is not None and merged.first <= seq <= merged.through:
            known[seq] = merged.time
    return known
