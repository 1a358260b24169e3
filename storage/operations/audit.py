"""The audit: what was done and by whom, read from the log itself, also from the part that the view has forgotten.

A list goes through the entries in order; each call reads a limited number of them, and returns how far it has come.
What is known of one changeset is looked up by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from msgspec.structs import replace

from storage.base.errors import ViewStale
from storage.base.ids import ChangesetId, PackId, Seq, is_ulid
from storage.log.audit import CLOSE, LAND, RELEASE, Act, about, acts_of, moment_of, submission
from storage.log.entry import Entry, decode
from storage.log.records import Outcome, Status
from storage.queue import ChangesetState, read_changesets
from storage.repository import Repository

MAX_READ = 256
"""Entries of the log that one call reads at most, beside some twenty to find a time."""
SKEW = 300.0
"""Seconds by which the clocks of two writers may differ: times of entries are in order but for that."""

# An act's place in the log as one number: its entry's, and its own in that. An entry decides 8,192 changesets at most,
# and tells three acts of each.
_SLOT_BITS = 15
_LAST_SLOT = (1 << _SLOT_BITS) - 1
# Entries that are read at once: few where a page may be full after them, more where there is little to tell.
_FIRST_READ, _MOST_TOGETHER = 4, 64


class Listed(NamedTuple):
    """A part of the audit, and the place up to which it was looked through where that is not to its end."""

    acts: list[Act]
    looked: int | None


@dataclass(frozen=True, slots=True)
class Range:
    """The part of the log that a list is about, and its direction. Times are those of entries, seconds since 1970."""

    start: int | None = None  # the place behind which the list begins, in its direction; None: at its end of the log
    newest_first: bool = True
    since: float | None = None
    until: float | None = None


def place_of(act: Act) -> int:
    """Return an act's place in the log."""
    return place(act.seq, act.index)


def place(seq: int, index: int = _LAST_SLOT) -> int:
    """Return the place of an act by its entry and its number in that; without one, the place behind the entry."""
    return seq << _SLOT_BITS | min(index, _LAST_SLOT)


def listed(repo: Repository, within: Range, is_wanted: Callable[[Act], bool], through: Seq, limit: int) -> Listed:
    """Return the acts of a part of the log that are wanted, up to the entry `through`. Raises Unavailable."""
    seqs = _entries(repo, within, through)
    acts: list[Act] = []
    looked = 0
    for entry in _read(repo, seqs[:MAX_READ]):
        moment = moment_of(entry)
        if moment is not None and _is_over(within, moment):
            return Listed(acts, None)
        told = list(acts_of(entry))
        for act in reversed(told) if within.newest_first else told:
            if _is_behind(within, place_of(act)) and _is_at(within, moment) and is_wanted(act):
                acts.append(act)
                if len(acts) == limit:
                    return Listed(acts, None)
        looked = entry.seq
    return Listed(acts, _behind(within, looked) if len(seqs) > MAX_READ else None)


def of_changeset(repo: Repository, changeset: ChangesetId, state: ChangesetState, after: int | None) -> Listed:
    """Return all acts about one changeset, in order, from its submission on.

    All that has a key is looked up, and stands in the first part (`after` is None). Where an act has none, since its
    rows have left the view, or since it closed a conflict by hand, the log is looked through behind the outcome, in
    parts. Raises Unavailable.
    """
    outcome = state.outcome
    if outcome is None:
        return Listed(_undecided(repo, changeset, state.pack), None)
    if after is None:
        acts, is_whole = _decided(repo, changeset, outcome, state)
        if is_whole:
            return Listed(acts, None)
    else:
        acts = []
    last = repo.view.head().applied
    seqs = range((outcome.seq if after is None else _seq_of(after)) + 1, last + 1)
    looked = 0
    for entry in _read(repo, seqs[:MAX_READ]):
        looked = entry.seq
        if outcome.status == Status.COMMITTED:
            made = entry.global_commit
            if made and made.first <= outcome.seq <= made.through:
                return Listed([*acts, *_landing(entry, changeset)], None)
        elif closed := _closings(entry, changeset):
            return Listed([*acts, *closed], None)
    return Listed(acts, place(looked) if len(seqs) > MAX_READ else None)


def _undecided(repo: Repository, changeset: ChangesetId, pack: PackId | None) -> list[Act]:
    acts = []
    if pack is not None:
        [submitted] = read_changesets(repo.archive, repo.queue, [(changeset, pack)])
        acts.append(submission(submitted))
    released = repo.view.released_by([changeset])
    return acts + [act for seq in released.values() for act in about(acts_of(_entry(repo, seq)), changeset)]


def _decided(
    repo: Repository, changeset: ChangesetId, outcome: Outcome, state: ChangesetState
) -> tuple[list[Act], bool]:
    """Return what keys tell of a decided changeset, and whether that is all there is by now."""
    entry = _entry(repo, outcome.seq)
    submitted, *rest = about(acts_of(entry), changeset)
    acts = [submitted, *_releases(repo, changeset, outcome), *rest]
    if outcome.status == Status.COMMITTED:
        if outcome.seq > state.through:
            return acts, True
        made = repo.view.landing_of(Seq(outcome.seq))
        if made is None:
            return acts, False
        return acts + _landing(entry if made.seq == entry.seq else _entry(repo, made.seq), changeset), True
    if outcome.status == Status.CONFLICTED and state.closed_by:
        successor = repo.outcome(ChangesetId(state.closed_by)) if is_ulid(state.closed_by) else None
        return (acts + _closings(_entry(repo, successor.seq), changeset), True) if successor else (acts, False)
    return acts, True


def _releases(repo: Repository, changeset: ChangesetId, outcome: Outcome) -> list[Act]:
    """Return the release of a held changeset; older records do not name its entry, which is mostly just before."""
    if outcome.released:
        return about(acts_of(_entry(repo, outcome.released)), changeset)
    if not outcome.held or outcome.status == Status.ABANDONED:
        return []
    for entry in _read(repo, range(outcome.seq - 1, max(0, outcome.seq - MAX_READ), -1)):
        if released := [act for act in about(acts_of(entry), changeset) if act.action == RELEASE]:
            return released
    return []


def _closings(entry: Entry, changeset: ChangesetId) -> list[Act]:
    return [act for act in about(acts_of(entry), changeset) if act.action == CLOSE]


def _landing(entry: Entry, changeset: ChangesetId) -> list[Act]:
    return [replace(act, changeset=changeset) for act in acts_of(entry) if act.action == LAND]


def _entries(repo: Repository, within: Range, through: Seq) -> range:
    """Return the entries of a list, in its direction; times bound its beginning, and `_is_over` its end."""
    if within.newest_first:
        last: int = through
        if within.start is not None:
            last = min(last, _seq_of(within.start - 1))
        elif within.until is not None:
            last = _first_at(repo, within.until + SKEW, through) - 1
        return range(last, 0, -1)
    first = 1
    if within.start is not None:
        first = _seq_of(within.start)
    elif within.since is not None:
        first = _first_at(repo, within.since - SKEW, through)
    return range(max(1, first), through + 1)


def _first_at(repo: Repository, moment: float, through: Seq) -> int:
    """Return the first entry of a time or later, or the one behind the last: a binary search, by as many reads."""
    low, high = 1, through + 1
    while low < high:
        middle = (low + high) // 2
        if (moment_of(_entry(repo, middle)) or 0.0) < moment:
            low = middle + 1
        else:
            high = middle
    return low


def _is_over(within: Range, moment: float) -> bool:
    """Tell whether no entry from one of this time on is wanted."""
    if within.newest_first:
        return within.since is not None and moment < within.since - SKEW
    return within.until is not None and moment > within.until + SKEW


def _is_at(within: Range, moment: float | None) -> bool:
    if within.since is None and within.until is None:
        return True
    if moment is None:
        return False
    return (within.since is None or moment >= within.since) and (within.until is None or moment <= within.until)


def _is_behind(within: Range, at: int) -> bool:
    if within.start is None:
        return True
    return at < within.start if within.newest_first else at > within.start


def _behind(within: Range, seq: int) -> int:
    """Return the place behind an entry, in the direction of a list."""
    return place(seq, 0) if within.newest_first else place(seq)


def _seq_of(at: int) -> int:
    return at >> _SLOT_BITS


def _entry(repo: Repository, seq: int) -> Entry:
    [entry] = _read(repo, [seq])
    return entry


def _read(repo: Repository, seqs: Sequence[int]) -> Iterator[Entry]:
    """Yield entries, up or down, some read at once, and more the longer it goes on."""
    at, count = 0, _FIRST_READ
    while some := seqs[at : at + count]:
        stored = repo.log.read_range(min(some), max(some))
        for data in stored if some[0] <= some[-1] else reversed(stored):
            if data is None:
                raise ViewStale("the view has an entry that the log has not")
            yield decode(data)
        at, count = at + count, min(2 * count, _MOST_TOGETHER)
