"""Which version of a file an imported commit has, told by the commits that changed it, however far these are.

A commit that did not change a file has it from one of its parents. Where all ways down to one of its dominators are
free of changes, it has what that one has; so only merges are looked at that join different versions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import neg

from storage.base.errors import Corrupt
from storage.git.objects import REGULAR_MODES, Version
from storage.lookup.imported import MOST, imported_numbers_of, position_up_to
from storage.lookup.imported_graph import ImportedGraph
from storage.operations.versions.ancestry import Graph
from storage.operations.versions.imported_history import commits_with_versions
from storage.operations.versions.path_history import Touch, version_at
from storage.repository import Repository

ABSENT = -1
"""In place of the commit that changed a file last: there is none."""
_TOGETHER = 50
_AHEAD_BYTES = 4 << 20


class Changes:
    """The commits that changed a file, by their numbers, and what each made of it."""

    def __init__(self, repo: Repository, path: bytes, graph: ImportedGraph) -> None:
        self._repo = repo
        self._path = path
        self._graph = graph
        self._numbers: list[int] = []  # highest first
        self._before: int | None = None  # the position of the last of them; None: nothing is looked up yet
        self._touches: dict[int, Touch] = {}

    def up_to(self, number: int) -> int:
        """Return the highest of them that is not above a number, or ABSENT. What is asked for first is the highest."""
        if self._before is None:
            self._before = position_up_to(self._repo.archive, self._path, number)
        while self._before and (not self._numbers or self._numbers[-1] > number):
            found = imported_numbers_of(self._repo.archive, self._path, self._before, MOST)
            self._numbers += [each for _, each in found]
            self._before = found[-1][0] if found else 0
        at = self._at(number)
        return self._numbers[at] if at < len(self._numbers) else ABSENT

    def touch(self, number: int) -> Touch:
        """Return one of them; reads some that are older with it. Raises Unavailable."""
        if number not in self._touches:
            at = self._at(number)
            self._read([each for each in self._numbers[at : at + _TOGETHER] if each not in self._touches])
        return self._touches[number]

    def version(self, number: int) -> Version | None:
        """Return what stands at the path behind one of them, or ABSENT."""
        return self.touch(number).new if number != ABSENT else None

    def _at(self, number: int) -> int:
        return bisect_left(self._numbers, -number, key=neg)

    def _read(self, numbers: Sequence[int]) -> None:
        oids = self._graph.commits(numbers)
        found = commits_with_versions(self._repo, self._path, [oids[number] for number in numbers])
        self._touches |= {number: Touch(number, *each) for number, each in zip(numbers, found, strict=True)}
        versions = [self._touches[number].new for number in numbers]
        texts = [version.oid for version in versions if version and version.mode in REGULAR_MODES]
        self._repo.kinds.of(texts)  # which is remembered, as the contents are
        self._repo.objects.prefetch(texts, _AHEAD_BYTES)


class LastChanges:
    """Which commit changed a file last, as commits have it.

    Where a merge has one parent's version, its first parent that has these contents counts, as for `git blame`.
    """

    def __init__(self, repo: Repository, path: bytes, graph: ImportedGraph, changes: Changes, walked: Graph) -> None:
        self._repo = repo
        self._path = path
        self._graph = graph
        self._changes = changes
        self._walked = walked
        self._known: dict[int, int] = {}

    def of(self, number: int) -> int:
        """Return the number of the last change that a commit has, or ABSENT. Raises WalkTooLong and Unavailable."""
        ends: dict[int, int] = {}  # how far each goes without a change
        waiting = [number]
        while waiting:
            one = waiting[-1]
            if one in self._known:
                waiting.pop()
                continue
            end = ends[one] if one in ends else ends.setdefault(one, self._unchanged_down_to(one))
            last = self._changes.up_to(end)
            if last in (ABSENT, end):
                self._known[one] = last
                continue
            parents = self._walked.walk(end).parents
            unknown = [parent for parent in parents if parent not in self._known]
            if unknown:
                waiting += unknown
            else:
                self._known[one] = self._joined(end, [self._known[parent] for parent in parents])
        return self._known[number]

    def _unchanged_down_to(self, number: int) -> int:
        """Return the lowest dominator that a commit has its version from; the commit itself where it changed it."""
        last = self._changes.up_to(number)
        return number if last == ABSENT else self._walked.lowest_dominator(number, last)

    def _joined(self, number: int, lasts: Sequence[int]) -> int:
        """Return the last change that a merge has, which has one parent's version, given those of its parents."""
        if len(set(lasts)) <= 1:
            return lasts[0] if lasts else ABSENT
        [oid] = self._graph.commits([number]).values()
        version = version_at(self._repo, self._repo.objects.commit(oid).tree, self._path)
        contents = version.oid if version else None
        for last in lasts:
            found = self._changes.version(last)
            if (found.oid if found else None) == contents:
                return last
        raise Corrupt(f"the index of an imported history lacks a change at {oid.hex()}")
