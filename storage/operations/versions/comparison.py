"""Two commits compared: their merge base, how many changesets each has that the other lacks, and what differs.

All that may be compared stands in one order: the chain has no branches, and a global commit has all of the chain up to
one of its commits. So the merge base needs no search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from storage.base.ids import ObjectId
from storage.git.objects import TREE_MODE, Tree, Version
from storage.git.trees import Change, version_rows
from storage.operations.versions.places import CommitKind, Place, committed_up_to, tip_of
from storage.repository import Repository


class Compared(NamedTuple):
    """How two commits stand to each other."""

    merge_base: ObjectId
    ahead: int | None  # changesets that the second has and the first lacks; None where that takes too long to count
    behind: int | None  # the other way round


def compare(repo: Repository, first: Place, second: Place) -> Compared:
    """Return how the second commit stands to the first. Raises Unavailable."""
    counts = [committed_up_to(repo, place.position) for place in (first, second)]
    ahead = behind = None
    if counts[0] is not None and counts[1] is not None:
        ahead, behind = max(0, counts[1] - counts[0]), max(0, counts[0] - counts[1])
    return Compared(merge_base(first, second), ahead, behind)


def merge_base(first: Place, second: Place) -> ObjectId:
    """Return the commit that `git merge-base` finds: the newest that both have."""
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
