"""Planning a replay: the slices of a history, and the changesets of each slice. Pure.

A slice is a top-level name, so every path belongs to one slice, and the order in a slice is the order of each path.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from app.judge import FileChange, SourceCommit
from app.protocol.url_names import check_name
from storage.base.batched import batched
from storage.git.fsck import FsckError

MAX_PATHS = 1000
"""Paths of a slice; the API's default limit."""

TOP = "top-level-files"

_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class PlannedSlice:
    """A slice of the replay."""

    name: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlannedChangeset:
    """What one commit changed in one slice."""

    commit: SourceCommit
    changes: list[FileChange]


class Plan:
    """Slices for all the paths of a history: the same paths give the same slices."""

    def __init__(self, paths: Iterable[str]) -> None:
        directories: set[str] = set()
        files: set[str] = set()
        for path in paths:
            first, slash, _ = path.partition("/")
            (directories if slash else files).add(first)
        self.slices: list[PlannedSlice] = []
        self._of: dict[str, int] = {}  # by top-level name: position in `slices`
        taken: set[str] = set()
        for name in sorted(directories):
            # A name that is a directory at one time and a file at another belongs to one slice.
            own = (f"{name}/", name) if name in files else (f"{name}/",)
            self._add(slice_name(name, taken), own, [name])
        rest = sorted(files - directories)
        for chunk in batched(rest, MAX_PATHS):
            self._add(slice_name(TOP, taken), tuple(chunk), chunk)

    def split(self, commit: SourceCommit) -> dict[int, PlannedChangeset]:
        """Return a commit's changesets by slice; a commit that spans slices becomes one for each."""
        parts: dict[int, list[FileChange]] = {}
        for change in commit.changes:
            parts.setdefault(self.slice_of(change.path), []).append(change)
        return {index: PlannedChangeset(commit, changes) for index, changes in parts.items()}

    def slice_of(self, path: str) -> int:
        """Return the position of a path's slice in `slices`."""
        return self._of[path.partition("/")[0]]

    def _add(self, name: str, paths: tuple[str, ...], top: list[str]) -> None:
        self._of.update(dict.fromkeys(top, len(self.slices)))
        self.slices.append(PlannedSlice(name, paths))


def slice_name(text: str, taken: set[str]) -> str:
    """Return a slice name like `text` that is fit for a ref and not taken; adds it to `taken`.

    Names have no slash, so none can be a directory of another. No two differ only by case, because an export may be
    checked out on a case-insensitive file system.
    """
    base = re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:_LONGEST_NAME].strip("-") or "slice"
    name, count = base, 1
    while name.lower() in taken or not _fit(name):
        count += 1
        name = f"{base}-{count}"
    taken.add(name.lower())
    return name


def _fit(name: str) -> bool:
    try:
        check_name(name)
    except FsckError:  # HEAD, what could be taken for an id, and words of the API's URLs
        return False
    return True
