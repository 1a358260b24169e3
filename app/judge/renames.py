"""Keeping renames out of Git's verdict, with any version of Git.

Before 2.50, `git merge-tree` follows renames even with merge.renames=false, for files that one side deleted and the
other changed, or that both deleted. A rename needs a deleted file and a new one. So if there may be one, Git merges
twice: the files of the base, and the new ones. Without renames no path of one part affects the other part, except a
file at the path of a directory. Such a file is either new, like the files in the directory, or it was deleted by the
side that has the directory, and then it is removed, or conflicts by itself.
"""

from dataclasses import dataclass

from app.judge.local_history import FileChange
from app.judge.source_merges import Files, SourceMerge, after


@dataclass(frozen=True, slots=True)
class Part:
    """Some files of the merge base, of the first side and of the second."""

    base: Files
    ours: Files
    theirs: Files


def may_rename(merge: SourceMerge) -> bool:
    """Whether Git may take a deleted file and a new one for a rename, which would change the merge."""
    ours, theirs = ({change.path: change for change in side} for side in merge.sides)
    gone = any(ours[path].deletes or theirs[path].deletes for path in ours.keys() & theirs.keys())
    return gone and any(not change.old_mode for side in merge.sides for change in side)


def split_renames(merge: SourceMerge) -> tuple[Part, Part]:
    """Return the changed files that the base has, and those that it has not."""
    base = merge.base_files
    ours, theirs = (after(base, side) for side in merge.sides)
    return Part(base, _within(ours, base), _within(theirs, base)), Part({}, _new(merge.sides[0]), _new(merge.sides[1]))


def _within(files: Files, base: Files) -> Files:
    return {path: version for path, version in files.items() if path in base}


def _new(side: list[FileChange]) -> Files:
    return {change.path: (change.mode, change.oid) for change in side if not change.old_mode}
