"""Two commits compared: their merge base, how many changesets each has that the other lacks, and what differs.

All that is committed here stands in one order: the chain has no branches, and a global commit has all of the chain up
to one of its commits. So the merge base needs no search. All of it has all of an imported history; between commits of
that the search goes by its graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from storage.base.errors import Refused
from storage.base.ids import ObjectId
from storage.git.objects import TREE_MODE, Tree, Version
from storage.git.trees import Change, version_rows
from storage.lookup.imported_graph import ImportedGraph
from storage.operations.versions.ancestry import Graph, WalkTooLong, merge_bases, only_in_each
from storage.operations.versions.imported_history import read_commits
from storage.operations.versions.places import CommitKind, Place, committed_up_to, newest_imported, tip_of
from storage.repository import Repository


class NothingInCommon(Refused):
    """The two commits have no commit in common."""


class Compared(NamedTuple):
    """How two commits stand to each other."""

    merge_base: ObjectId
    ahead: int | None  # changesets and imported commits that the second has and the first lacks; None where that takes
    behind: int | None  # too long to count; the other way round


def compare(repo: Repository, first: Place, second: Place, is_counted: bool = True) -> Compared:
    """Return how the second commit stands to the first; nothing is counted where nobody wants it.

    Raises NothingInCommon, WalkTooLong and Unavailable.
    """
    base, graph, numbers = _merge_base(repo, first, second)
    counts = [committed_up_to(repo, place.position) for place in (first, second)] if is_counted else [None, None]
    if counts[0] is None or counts[1] is None:
        return Compared(base, None, None)
    ahead, behind = max(0, counts[1] - counts[0]), max(0, counts[0] - counts[1])
    try:
        imported = only_in_each(Graph(graph), *numbers) if numbers else (0, 0)
    except WalkTooLong:
        return Compared(base, None, None)
    return Compared(base, ahead + imported[1], behind + imported[0])


def _merge_base(
    repo: Repository, first: Place, second: Place
) -> tuple[ObjectId, ImportedGraph, tuple[int, int] | None]:
    """Return the merge base, and the numbers of the newest imported commits that both have, where these differ."""
    graph = ImportedGraph(repo.archive)
    if first.oid == second.oid:
        return first.oid, graph, None
    unusual = (CommitKind.IMPORTED, CommitKind.FIRST)
    if first.kind not in unusual and second.kind not in unusual:
        return merge_base(first, second), graph, None
    newest = [newest_imported(graph, place) for place in (first, second)]
    one, other = newest
    if one is None or other is None:
        if one is not None or other is not None:  # the empty commit of a log's first entry, and what has an import
            raise NothingInCommon
        return merge_base(first, second), graph, None
    if one == other:
        return merge_base(first, second), graph, None
    bases = merge_bases(Graph(graph), one, other)
    if not bases:
        raise NothingInCommon
    oids = graph.commits(bases)
    ids = [oids[number] for number in bases]
    # Of several Git takes the one that was committed last.
    commits = read_commits(repo, ids)
    latest = max(range(len(ids)), key=lambda at: commits[at].committer.time)
    return ids[latest], graph, (one, other)


def merge_base(first: Place, second: Place) -> ObjectId:
    """Return the commit that `git merge-base` finds for two that are committed here: the newest that both have."""
    older, newer = sorted((first, second), key=lambda place: (place.position, place.kind is CommitKind.GLOBAL))
    # Only a global commit has other global commits: the chain has what these merged.
    if older.kind is CommitKind.GLOBAL and newer.kind is not CommitKind.GLOBAL:
        return tip_of(older)
    return older.oid


ReadTree = Callable[[ObjectId], Tree]


def changed_behind(read: ReadTree, old: ObjectId, new: ObjectId, after: bytes) -> Iterator[Change]:
    """Yield the files that differ between two trees behind the path `after`, as `trees.diff` does, in its order.

    Directories that end before `after` are not read.
    """
    parts = after.split(b"/") if after else []
    yield from _changed(read, Version(TREE_MODE, old), Version(TREE_MODE, new), b"", parts)


def _changed(
    read: ReadTree, old: Version | None, new: Version | None, base: bytes, after: list[bytes]
) -> Iterator[Change]:
    before, now = (version_rows(read(version.oid)) if version else {} for version in (old, new))
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    for name in names:
        if after and name < after[0]:
            continue
        rest = after[1:] if after and name == after[0] else []
        was, then, path = before.get(name), now.get(name), base + name
        was_tree = was if was and was.is_tree else None
        then_tree = then if then and then.is_tree else None
        # A file's path is told behind all that stood below it as a directory.
        is_told = bool(after) and after == [name]
        if (was_tree or then_tree) and not is_told:
            yield from _changed(read, was_tree, then_tree, path + b"/", rest)
        was_file, then_file = None if was_tree else was, None if then_tree else then
        if was_file != then_file and not is_told:
            yield path, was_file, then_file
