"""Who wrote which line of a file, back through an imported history: what `git blame` says, without renames.

As in Git's blame.c a version gives lines to each of its parents in turn, those that this one has, and keeps the rest;
all of them to the first parent that has the same contents. What a parent has is the version of the last commit that
changed the file there (imported_versions.py), so the commits in between are not looked at. A line's origin does not
depend on the order in which versions are looked at; from higher numbers to lower ones each is looked at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush

from storage.backends.turns import breathe
from storage.base.errors import Corrupt
from storage.base.ids import ObjectId
from storage.git.objects import REGULAR_MODES, Version
from storage.lookup.imported_graph import ImportedGraph
from storage.operations.versions.ancestry import Graph, WalkTooLong
from storage.operations.versions.blame_parts import Found, Limit, Older
from storage.operations.versions.imported_versions import ABSENT, Changes, LastChanges
from storage.operations.versions.line_blame import Blame, Lines
from storage.repository import Repository


def blame_imported(
    repo: Repository, path: bytes, graph: ImportedGraph, start: int, open_lines: list[Lines], found: Found, at: ObjectId
) -> None:
    """Find the origin of lines of a file as it stands at the imported commit `start`; `at` has the same version.

    Raises NoLines, WalkTooLong and Unavailable.
    """
    walk = _Walk(repo, path, graph, found)
    try:
        first = walk.lasts.of(start)
    except WalkTooLong:
        _stop_walking(found)
        found.older += [Older(lines, at) for lines in open_lines]
        return
    if first == ABSENT:
        raise Corrupt(f"the index of an imported history does not know of a file at {at.hex()}")
    walk.give(first, open_lines)
    while walk.waiting:
        number = -heappop(walk.waiting)
        lines = walk.pending.pop(number)
        try:
            is_done = walk.step(number, lines)
        except WalkTooLong:
            _stop_walking(found)
            is_done = False
        if not is_done:
            walk.give(number, lines)
            break
    found.older += walk.rest()


def _stop_walking(found: Found) -> None:
    """Say that more commits would have to be walked; raise WalkTooLong where to ask again would be in vain."""
    if not found.seen:
        raise WalkTooLong
    found.limit = Limit.COMMITS


@dataclass(slots=True)
class _Walk:
    """The way back through the versions of a file, of which several may have to be looked at next."""

    repo: Repository
    path: bytes
    graph: ImportedGraph
    found: Found
    pending: dict[int, list[Lines]] = field(default_factory=dict)  # lines that each version has, by its commit
    waiting: list[int] = field(default_factory=list)  # these commits, below zero: the highest first
    walked: Graph = field(init=False)
    changes: Changes = field(init=False)
    lasts: LastChanges = field(init=False)

    def __post_init__(self) -> None:
        self.walked = Graph(self.graph)
        self.changes = Changes(self.repo, self.path, self.graph)
        self.lasts = LastChanges(self.repo, self.path, self.graph, self.changes, self.walked)

    def give(self, number: int, lines: list[Lines]) -> None:
        """Have lines looked at in the version of a commit."""
        if not lines:
            return
        if number not in self.pending:
            self.pending[number] = []
            heappush(self.waiting, -number)
        self.pending[number] += lines

    def step(self, number: int, lines: list[Lines]) -> bool:
        """Give lines of a version to those before it, and keep the rest; tell whether there was room for that."""
        touch = self.changes.touch(number)
        version = _file(touch.new)
        assert version
        before = self._before(number)
        same = next((parent for parent, old in before if old.oid == version.oid), None)
        if same is not None:
            self.give(same, lines)  # another mode, or a merge of other modes
            return True
        sizes = self.repo.kinds.of([old.oid for _, old in before])
        size = sum(each.size for each in sizes.values())
        if not self.found.has_room(touch, size):
            return False
        text = self.repo.objects.blob(version.oid)
        for parent, old in before:
            if not lines:
                break
            blame = Blame(lines)
            lines = blame.step(text, self.repo.objects.blob(old.oid))
            self.give(parent, blame.open)
            breathe()  # others may run: a diff of large texts takes long
        self.found.take(touch, lines, size)
        return True

    def _before(self, number: int) -> list[tuple[int, Version]]:
        """Return what the parents of a commit have, with the commits that made it; the same contents once."""
        before: dict[ObjectId, tuple[int, Version]] = {}
        for parent in self.walked.walk(number).parents:
            last = self.lasts.of(parent)
            version = _file(self.changes.version(last))
            if version is not None:
                before.setdefault(version.oid, (last, version))
        return list(before.values())

    def rest(self) -> list[Older]:
        """Return what is still to be looked at."""
        oids = self.graph.commits(self.pending)
        return [Older(each, oids[number]) for number, lines in self.pending.items() for each in lines]


def _file(version: Version | None) -> Version | None:
    return version if version is not None and version.mode in REGULAR_MODES else None
