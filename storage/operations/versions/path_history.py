"""The commits that changed a file or a directory, newest first.

A file's are found by the digest of its path, which the view has in the order of the log (storage/view/rows.py); what
has left the view is found by reading the log, a limited number of entries at a time. A directory's are found among
those of its slice, or of all. Whether a commit has really changed what stands there is told by two look-ups, in its
tree and in that of the commit before it: so a put of what was there already, and one of another path with the same
digest, are no versions.

What was taken over with its history stands before the first entry, and has an index of its own: a list that has come
to its end here goes on in imported_history.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from storage.base.ids import ChangesetId, ObjectId, oid_of
from storage.git.objects import TREE_MODE, Commit, Version
from storage.git.paths import raw_path, recorded_path
from storage.log.records import Status
from storage.operations import listed
from storage.operations.listed import Wanted
from storage.queue import ChangesetState
from storage.repository import Repository

MOST_LOOKED_AT = 1000
"""Changesets that one page of a directory's history looks at, at most."""
_TOGETHER, _BESIDE = 100, 4


@dataclass(frozen=True, slots=True)
class Touch:
    """A commit that changed what stands at a path."""

    position: int  # in the log; of an imported commit among those that changed the path
    oid: ObjectId
    commit: Commit
    old: Version | None  # what stood there before: in its first parent
    new: Version | None
    changeset: ChangesetId | None = None  # None of an imported one, as what follows
    state: ChangesetState | None = None


@dataclass(frozen=True, slots=True)
class Touches:
    """Some of them, and the position up to which was looked where that is not to the end."""

    rows: list[Touch]
    looked: int | None


def touches(repo: Repository, path: bytes, slice_id: str | None, before: int, limit: int) -> Touches:
    """Return the commits before a position that changed a path, newest first; `a/b/` is a directory, `/` is all.

    At most `limit` of them. Raises Unavailable.
    """
    found: list[Touch] = []
    looked_at = 0
    # Most of what is found by a file's path has changed it.
    together = _TOGETHER if path.endswith(b"/") else min(_TOGETHER, limit + _BESIDE)
    while True:
        some = _candidates(repo, path, slice_id, before, together)
        for touch in _real(repo, path, slice_id, some.rows):
            found.append(touch)
            if len(found) == limit:
                return Touches(found, None)
        looked_at += len(some.rows)
        if some.looked is not None or len(some.rows) < together:
            return Touches(found, some.looked)
        before = some.rows[-1][1]
        if looked_at >= MOST_LOOKED_AT:
            return Touches(found, before)


def _candidates(repo: Repository, path: bytes, slice_id: str | None, before: int, limit: int) -> listed.Listed:
    """Return the next changesets that may have changed a path, newest first."""
    if not path.endswith(b"/"):
        return listed.decided(
            repo, Wanted(path=recorded_path(path), slice=slice_id), -1, before, limit, newest_first=True
        )
    # Of the chain, and of a slice, what has not landed stands in the same list as what has.
    rows: list[tuple[ChangesetId, int]] = []
    for status in (Status.COMMITTED, Status.LANDED):
        wanted = Wanted(status=status, slice=slice_id)
        more = listed.decided(repo, wanted, -1, before, limit - len(rows), newest_first=True)
        rows += more.rows
        if more.looked is not None or len(rows) == limit:
            return listed.Listed(rows, more.looked)
        before = rows[-1][1] if rows else before  # what lands in between is not listed again
    return listed.Listed(rows, None)


def _real(
    repo: Repository, path: bytes, slice_id: str | None, rows: Sequence[tuple[ChangesetId, int]]
) -> Iterator[Touch]:
    """Yield those of these changesets that have changed what stands at a path."""
    ids = [changeset for changeset, _ in rows]
    states = dict(zip(ids, repo.queue.states(ids)[1], strict=True)) if ids else {}
    of_path = [row for row in rows if _may_touch(states[row[0]], path, slice_id)]
    oids = [oid_of(_commit_of(states[changeset])) for changeset, _ in of_path]
    commits = _commits(repo, oids)
    before = _commits(repo, [commit.parents[0] for commit in commits])
    versions = versions_at(repo, [commit.tree for commit in (*commits, *before)], path)
    for (changeset, position), oid, commit, parent in zip(of_path, oids, commits, before, strict=True):
        state, old, new = states[changeset], versions[parent.tree], versions[commit.tree]
        if old != new or path == b"/":  # without a path Git lists those that change nothing, too
            yield Touch(position, oid, commit, old, new, changeset, state)


def _commits(repo: Repository, oids: Sequence[ObjectId]) -> list[Commit]:
    """Return commits, read together."""
    repo.objects.prefetch(oids)
    return [repo.objects.commit(oid) for oid in oids]


def versions_at(repo: Repository, trees: Iterable[ObjectId], path: bytes) -> dict[ObjectId, Version | None]:
    """Return what stands at a path of each of these trees, as `version_at` does; reads all of a level together."""
    found: dict[ObjectId, Version | None] = {tree: Version(TREE_MODE, tree) for tree in trees}
    for part in path.rstrip(b"/").split(b"/") if path != b"/" else ():
        directories = {each.oid for each in found.values() if each is not None and each.is_tree}
        read = repo.objects.trees(list(directories))
        found = {
            tree: read[each.oid].get(part) if each is not None and each.is_tree else None
            for tree, each in found.items()
        }
    is_directory = path.endswith(b"/")
    return {tree: each if each is not None and each.is_tree == is_directory else None for tree, each in found.items()}


def version_at(repo: Repository, tree: ObjectId, path: bytes) -> Version | None:
    """Return what stands at a path of a tree: a file, or a directory where it ends with a slash. Raises Unavailable."""
    return versions_at(repo, [tree], path)[tree]


def _may_touch(state: ChangesetState, path: bytes, slice_id: str | None) -> bool:
    """Tell whether a changeset, of a slice, may have changed a path, by the prefixes that hold all that it changes."""
    outcome = state.outcome
    if outcome is None or outcome.status != Status.COMMITTED or slice_id not in (None, outcome.slice):
        return False
    if not path.endswith(b"/") or path == b"/" or not outcome.covers:
        return True
    return any(_overlap(raw_path(prefix), path) for prefix in outcome.covers)


def _overlap(prefix: bytes, directory: bytes) -> bool:
    return prefix == b"/" or prefix.startswith(directory) or (prefix.endswith(b"/") and directory.startswith(prefix))


def _commit_of(state: ChangesetState) -> str:
    assert state.outcome is not None and state.outcome.commit is not None
    return state.outcome.commit
