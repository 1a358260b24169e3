"""Lists that go back further than the view: up to the entry `archived` they are read from the log itself.

Entries are not indexed by slice, so a list of few changesets may have to read many entries. Each call reads a limited
number of them, and returns how far it has come: a page may have few items, or none, and still not be the last.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from storage.base.batched import batched
from storage.base.errors import ViewStale
from storage.log.entry import SLOTS, Entry, GlobalCommit, Slices, decode, log_position
from storage.log.entry_bundles import RUN
from storage.log.records import Decided, Status
from storage.repository import Repository
from storage.view.lists import Positions
from storage.view.snapshot import Slice
from storage.view.view import slice_of

MAX_READ = 256
"""Entries of the log that one call reads at most."""

TURNS = 5
"""How often a list is read at most: the view may archive more meanwhile."""

_InView = Callable[[int, int | None, int], Positions]


class Listed(NamedTuple):
    """A part of a list, and how far it was looked through where that is not to its end."""

    rows: Positions
    looked: int | None


def decided(repo: Repository, slice_id: str, status: str, after: int, high: int | None, limit: int) -> Listed:
    """Return a slice's changesets of a status behind the position `after`, up to `high`. Raises Unavailable."""
    return _listed(
        repo,
        partial(repo.view.decided, slice_id, status),
        lambda record: record.slice == slice_id and record.status == status,
        after,
        high,
        limit,
    )


def committed(repo: Repository, after: int, high: int, limit: int) -> Listed:
    """Return committed changesets of all slices behind the position `after`, up to `high`. See `decided`."""
    return _listed(repo, repo.view.committed, lambda record: record.status == Status.COMMITTED, after, high, limit)


def _listed(
    repo: Repository, in_view: _InView, is_wanted: Callable[[Decided], bool], after: int, high: int | None, limit: int
) -> Listed:
    for _ in range(TURNS):
        archived = repo.view.head().archived
        last = archived if high is None else min(archived, high // SLOTS)
        rows, looked = _in_log(repo, is_wanted, after, last, limit)
        if looked is None and len(rows) < limit:
            recent = in_view(max(after, log_position(archived, SLOTS - 1)), high, limit - len(rows))
            if repo.view.head().archived != archived:
                continue
            rows += recent
        return Listed(rows, looked)
    raise ViewStale("the view goes on while it is listed")


def _in_log(
    repo: Repository, is_wanted: Callable[[Decided], bool], after: int, last: int, limit: int
) -> tuple[Positions, int | None]:
    rows: Positions = []
    first = max(1, (after + 1) // SLOTS)
    end = min(last, first + MAX_READ - 1)
    for entry in read_entries(repo, range(first, end + 1)):
        for index, record in enumerate(entry.decided):
            position = log_position(entry.seq, index)
            if position > after and is_wanted(record):
                rows.append((record.id, position))
                if len(rows) == limit:
                    return rows, None
    return rows, log_position(end, SLOTS - 1) if end < last else None


def global_commits(repo: Repository, before: int | None, limit: int) -> tuple[list[GlobalCommit], int | None]:
    """Return global commits before an entry, newest first, and how far was looked (`Listed`). Raises Unavailable."""
    for _ in range(TURNS):
        archived = repo.view.head().archived
        rows = repo.view.global_commits(archived, before, limit)
        if repo.view.head().archived == archived:
            break
    else:
        raise ViewStale("the view goes on while it is listed")
    last = archived if before is None else min(archived, before - 1)
    first = max(1, last - MAX_READ + 1)
    if len(rows) < limit:
        for entry in read_entries(repo, range(last, first - 1, -1)):
            if made := entry.global_commit:
                rows.append(made)
                if len(rows) == limit:
                    return rows, None
        return rows, first if first > 1 else None
    return rows, None


def global_commit(repo: Repository, commit: str) -> GlobalCommit | None:
    """Return a global commit as lists show it, None where there is none. Raises Unavailable."""
    return repo.view.merge(commit) or repo.archive.global_commit(commit)


def slice_before(repo: Repository, slice_id: str, version: int, seq: int) -> Slice | None:
    """Return a slice as it was at the entry `seq`, when it had `version`: the entry that changed it says it again.

    None where none of the next MAX_READ entries did. Raises Unavailable.
    """
    last = min(repo.view.head().applied, seq + MAX_READ)
    for entry in read_entries(repo, range(seq + 1, last + 1)):
        for old in entry.undefine if isinstance(entry, Slices) else ():
            if (old.id, old.version) == (slice_id, version):
                return slice_of(old)
    return None


def read_entries(repo: Repository, seqs: Sequence[int]) -> Iterator[Entry]:
    """Yield the entries of a range, up or down, some read at once. Raises Unavailable."""
    for some in batched(seqs, RUN):
        stored = repo.log.read_range(min(some), max(some))
        for data in stored if some[0] <= some[-1] else reversed(stored):
            if data is None:
                raise ViewStale("the view has archived an entry that the log has not")
            yield decode(data)
