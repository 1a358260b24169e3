"""Where a commit stands: its position in the log, which orders all commits, and what it was made for.

The chain has one commit for each committed changeset, in the order of their positions. A global commit stands behind
the last commit of the chain that it merges, and has its tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from storage.base.errors import Refused
from storage.base.ids import ChangesetId, ObjectId, is_ulid, oid_of
from storage.git.objects import Commit
from storage.git.trailers import CHANGESET_ID, changeset_of_old, trailers
from storage.log.entry import SLOTS, Commits, GlobalCommit, log_position
from storage.log.records import Status
from storage.lookup.imported import imported_commits_of
from storage.lookup.imported_graph import ImportedGraph
from storage.operations import history
from storage.queue import ChangesetState
from storage.repository import Repository


class CommitUnknown(Refused):
    """There is no such commit in the chain, nor a global or an imported one; the text is its id."""


class CommitKind(StrEnum):
    """What a commit is."""

    CHAIN = "chain"  # of one changeset
    GLOBAL = "global"
    IMPORTED = "imported"  # of a history that the repository began with, below its tip
    FIRST = "first"  # with which the repository begins: chain and global commits both follow it


@dataclass(frozen=True, slots=True)
class Place:
    """A commit, and where it stands."""

    oid: ObjectId
    commit: Commit
    kind: CommitKind
    position: int  # all that is committed up to here it has, and nothing else
    changeset: ChangesetId | None = None  # of one of the chain
    state: ChangesetState | None = None  # that changeset's
    merged: GlobalCommit | None = None  # what a global one merged
    number: int | None = None  # of an imported one, in the graph of its history; None: that has none


def place_of(repo: Repository, oid: ObjectId) -> Place:
    """Return where a commit stands: two look-ups by id. Raises CommitUnknown and Unavailable."""
    if repo.objects.commit_tree(oid) is None:
        raise CommitUnknown(oid.hex())
    commit = repo.objects.commit(oid)
    changeset = changeset_of(commit)
    if changeset is not None:
        [state] = repo.queue.states([changeset])[1]
        outcome = state.outcome
        # What was taken over from elsewhere may name changesets of another repository.
        if outcome is not None and outcome.commit == oid.hex():
            position = log_position(outcome.seq, outcome.index)
            return Place(oid, commit, CommitKind.CHAIN, position, changeset, state)
    merged = history.global_commit(repo, oid.hex())
    if merged is None:  # an imported one has no entry of its own: `imported_place` finds it
        raise CommitUnknown(oid.hex())
    kind = CommitKind.GLOBAL if merged.changesets else CommitKind.FIRST
    return Place(oid, commit, kind, log_position(merged.through, SLOTS - 1), merged=merged)


def imported_place(repo: Repository, oid: ObjectId) -> Place:
    """Return an imported commit, which is before everything in the log. Raises CommitUnknown and Unavailable."""
    number = ImportedGraph(repo.archive).number_of(oid)
    # A history that an earlier version imported has no numbers by ids. What is stored, and what no entry made, came
    # with the import all the same: writers store no commits.
    if number is None and not imported_commits_of(repo.archive, b"/", None, 1):
        raise CommitUnknown(oid.hex())
    if repo.objects.commit_tree(oid) is None:
        raise CommitUnknown(oid.hex())
    return Place(oid, repo.objects.commit(oid), CommitKind.IMPORTED, 0, number=number)


def newest_imported(graph: ImportedGraph, place: Place) -> int | None:
    """Return the number of the newest imported commit that a commit has, itself if it is one; None where there is none.

    None also of a history without a graph. Raises Unavailable.
    """
    if place.kind is CommitKind.IMPORTED:
        return place.number
    newest = graph.newest()
    # The empty commit of a log's first entry has nothing, also where a history was imported behind it.
    if newest is None or (place.kind is CommitKind.FIRST and graph.commits([newest])[newest] != place.oid):
        return None
    return newest


def changeset_of(commit: Commit) -> ChangesetId | None:
    """Return the changeset that a commit says to be of."""
    named = [value for name, value in trailers(commit.message) if name == CHANGESET_ID]
    name = named[-1] if named else changeset_of_old(commit.message)
    return ChangesetId(name) if name is not None and is_ulid(name) else None


def committed_up_to(repo: Repository, position: int) -> int | None:
    """Return how many changesets were committed up to a position, by one entry of the log. Raises Unavailable.

    Each entry that commits has the number of all so far. None where none of the last MAX_READ entries did.
    """
    seq, index = divmod(position, SLOTS)
    first = max(1, seq - history.MAX_READ + 1)
    for entry in history.read_entries(repo, range(seq, first - 1, -1)):
        if isinstance(entry, Commits):
            behind = entry.decided[index + 1 :] if entry.seq == seq else ()
            return entry.committed - sum(record.status == Status.COMMITTED for record in behind)
    return 0 if first == 1 else None


def tip_of(place: Place) -> ObjectId:
    """Return the newest commit of the chain that a commit has."""
    if place.kind is CommitKind.GLOBAL and place.merged is not None:
        return oid_of(place.merged.parents[1])
    return place.oid
