"""Planning a replay: the slices of a history, and the changesets that each of them gets. Pure.

A slice is a top-level name, so no path ever crosses slices, and the order inside a slice is the order of every path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from app.replay.history import FileChange, SourceCommit

MOST_PATHS = 900
TOP = "top-level-files"


@dataclass(slots=True)
class PlannedSlice:
    """A slice of the replay."""

    name: str
    paths: list[str]


@dataclass(frozen=True, slots=True)
class PlannedChangeset:
    """What one commit changed in one slice."""

    commit: SourceCommit
    changes: list[FileChange]


class Plan:
    """Slices for all the paths of a history."""

    def __init__(self, paths: Iterable[str]) -> None:
        directories: set[str] = set()
        files: set[str] = set()
        for path in paths:
            first, slash, _ = path.partition("/")
            (directories if slash else files).add(first)
        taken: set[str] = set()
        self.slices: list[PlannedSlice] = []
        self._of: dict[str, int] = {}
        for name in sorted(directories):
            self._of[name] = len(self.slices)
            # A name that is a directory at one time and a file at another belongs to one slice.
            own = [f"{name}/", name] if name in files else [f"{name}/"]
            self.slices.append(PlannedSlice(slice_name(name, taken), own))
        rest = sorted(files - directories)
        for start in range(0, len(rest), MOST_PATHS):
            chunk = rest[start : start + MOST_PATHS]
            self._of.update(dict.fromkeys(chunk, len(self.slices)))
            self.slices.append(PlannedSlice(slice_name(TOP, taken), chunk))

    def split(self, commit: SourceCommit) -> dict[int, PlannedChangeset]:
        """Return a commit's changesets by slice; a commit that spans slices becomes one for each."""
        parts: dict[int, list[FileChange]] = {}
        for change in commit.changes:
            parts.setdefault(self._of[change.path.partition("/")[0]], []).append(change)
        return {index: PlannedChangeset(commit, changes) for index, changes in parts.items()}

    def slice_of(self, path: str) -> int:
        """Return the slice of a path."""
        return self._of[path.partition("/")[0]]


def slice_name(text: str, taken: set[str]) -> str:
    """Return a slice name like `text` that is fit for a ref and not taken; adds it to `taken`."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "slice"
    name, base, count = name[:100], name[:100], 1
    while name.lower() in taken:
        count += 1
        name = f"{base}-{count}"
    taken.add(name.lower())
    return name
