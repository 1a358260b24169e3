"""The history of a path, back through an imported history: newest first, by its index of paths.

What is committed here comes first, then the imported commits that changed the path, in the order of their numbers:
children before parents, by their times as far as that allows. A merge is one of them where what it has differs from
what each of its parents has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from storage.base.batched import batched
from storage.base.ids import ObjectId
from storage.git.objects import Commit, Version
from storage.lookup.imported import imported_numbers_of, position_up_to
from storage.lookup.imported_graph import ImportedGraph
from storage.operations.listed import TOP
from storage.operations.versions.ancestry import Ancestors, Graph, WalkTooLong
from storage.operations.versions.path_history import MOST_LOOKED_AT, Touch, touches, versions_at
from storage.operations.versions.places import CommitKind, Place, newest_imported
from storage.repository import Repository

_TOGETHER = 100


class Mark(NamedTuple):
    """A place in the history of a path, for what follows behind it."""

    is_imported: bool
    position: int  # as a `Touch` has it


@dataclass(frozen=True, slots=True)
class PathCommits:
    """Commits that changed a path, and up to where was looked where that is not to the end."""

    rows: list[Touch]
    looked: Mark | None


def path_commits(
    repo: Repository, path: bytes, slice_id: str | None, place: Place | None, after: Mark | None, limit: int
) -> PathCommits:
    """Return commits that changed a path, newest first, behind a mark: those that `place` has, None: all.

    At most `limit` of them; those of a slice where one is given, which has no imported ones. Raises WalkTooLong where
    it is not known within a walk whether a commit has others, and Unavailable.
    """
    rows: list[Touch] = []
    before: int | None = None
    if after is not None and after.is_imported:
        before = after.position
    elif place is None or place.kind is not CommitKind.IMPORTED:
        end = after.position if after is not None else place.position + 1 if place is not None else TOP
        found = touches(repo, path, slice_id, min(end, TOP), limit)
        rows = found.rows
        if found.looked is not None:
            return PathCommits(rows, Mark(False, found.looked))
    if slice_id is not None or len(rows) == limit:
        return PathCommits(rows, None)
    older = _imported(repo, path, place, before, limit - len(rows))
    return PathCommits(rows + older.rows, older.looked)


def _imported(repo: Repository, path: bytes, place: Place | None, before: int | None, limit: int) -> PathCommits:
    """Return imported commits that changed a path, those at positions below `before`."""
    within = None
    if place is not None:
        graph = ImportedGraph(repo.archive)
        newest = newest_imported(graph, place)
        if newest is None:
            return PathCommits([], None)
        if place.kind is CommitKind.IMPORTED:  # anything else has them all
            within = Ancestors(Graph(graph), newest)
            if before is None:
                before = position_up_to(repo.archive, path, newest)
    looked_at = MOST_LOOKED_AT if within is not None else limit
    numbers = imported_numbers_of(repo.archive, path, before, looked_at)
    wanted: list[tuple[int, int]] = []
    looked: int | None = None
    for position, number in numbers:
        try:
            if within is None or within.has(number):
                wanted.append((position, number))
        except WalkTooLong:
            if looked is None and not wanted:
                raise
            break
        looked = position
        if len(wanted) == limit:
            return PathCommits(touches_of(repo, path, wanted), None)
    rows = touches_of(repo, path, wanted)
    return PathCommits(rows, Mark(True, looked) if looked else None)  # before the position 0 there is nothing


def touches_of(repo: Repository, path: bytes, wanted: Sequence[tuple[int, int]]) -> list[Touch]:
    """Return imported commits, given by positions and numbers, with what they made of a path. Raises Unavailable."""
    oids = ImportedGraph(repo.archive).commits(number for _, number in wanted)
    rows: list[Touch] = []
    for some in batched(list(wanted), _TOGETHER):
        commits = commits_with_versions(repo, path, [oids[number] for _, number in some])
        rows += [Touch(position, *each) for (position, _), each in zip(some, commits, strict=True)]
    return rows


def commits_with_versions(
    repo: Repository, path: bytes, oids: Sequence[ObjectId]
) -> Iterator[tuple[ObjectId, Commit, Version | None, Version | None]]:
    """Yield commits with what stands at a path in the first parent of each, and in itself; all are read together."""
    commits = read_commits(repo, oids)
    first = read_commits(repo, [commit.parents[0] for commit in commits if commit.parents])
    versions = versions_at(repo, [commit.tree for commit in (*commits, *first)], path)
    parents = iter(first)
    for oid, commit in zip(oids, commits, strict=True):
        yield oid, commit, versions[next(parents).tree] if commit.parents else None, versions[commit.tree]


def read_commits(repo: Repository, oids: Iterable[ObjectId]) -> list[Commit]:
    """Return commits, read together. Raises Unavailable."""
    wanted = list(oids)
    repo.objects.prefetch(wanted)
    return [repo.objects.commit(oid) for oid in wanted]
