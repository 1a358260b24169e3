"""Who wrote which line of a file: by its versions, from the newest to the oldest (storage/operations/versions)."""

from __future__ import annotations

from dataclasses import dataclass, field

from storage.backends.turns import breathe
from storage.base.ids import ObjectId, oid_of
from storage.git.objects import REGULAR_MODES, Version
from storage.git.threeway import is_binary
from storage.log.entry import SLOTS, Commits
from storage.lookup.imported_graph import ImportedGraph
from storage.operations import history
from storage.operations.versions.blame_parts import Found, Limit, NoLines, Older
from storage.operations.versions.imported_blame import blame_imported
from storage.operations.versions.line_blame import Blame, joined
from storage.operations.versions.path_history import Touch, touches, version_at
from storage.operations.versions.places import CommitKind, Place, newest_imported
from storage.repository import Repository

MOST_VERSIONS = 200
"""Versions of a file that one call compares, at most."""
MOST_BYTES = 64 << 20
"""Bytes of them that it reads, at most."""
MOST_LOOKS = 4
"""How often it reads on in the log, where the file's versions have left the view."""
_TOGETHER = 50
_AHEAD_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Span:
    """Lines that follow one another and came with one commit."""

    start: int  # from 1
    count: int
    touch: Touch


@dataclass(frozen=True, slots=True)
class Blamed:
    """The lines of a file, in order; those of `older` are older than the oldest versions looked at."""

    text: bytes
    spans: list[Span]
    older: list[Older]
    limit: Limit | None  # why there are any


def blame(repo: Repository, path: bytes, place: Place) -> Blamed | None:
    """Return who wrote which line of a file as it stands at a commit; None where it has none.

    Costs its versions: two look-ups and a line diff each. Raises NoLines, WalkTooLong and Unavailable.
    """
    version = version_at(repo, place.commit.tree, path)
    if version is None:
        return None
    text = _text(repo, version)
    walk = _Walk(repo, path, Blame.of(text), text, place)
    found = walk.found
    if place.kind is not CommitKind.IMPORTED:
        while walk.asked.open and found.limit is None and walk.go_on():
            pass
    if walk.asked.open and found.limit is None:
        graph = ImportedGraph(repo.archive)
        newest = newest_imported(graph, place)
        if newest is not None:
            blame_imported(repo, path, graph, newest, walk.asked.open, found, walk.reached)
            walk.asked.open = []
    found.older += [Older(lines, walk.reached) for lines in walk.asked.open]
    spans = [Span(start + 1, count, found.seen[number]) for start, count, number in joined(found.lines)]
    return Blamed(text, spans, sorted(found.older), found.limit)


@dataclass(slots=True)
class _Walk:
    """The way back through the versions of a file that are committed here, which are in one order."""

    repo: Repository
    path: bytes
    asked: Blame
    text: bytes  # of the version that has been reached
    place: Place
    found: Found = field(init=False)
    reached: ObjectId = field(init=False)  # a commit that has this version
    _before: int = field(init=False)
    _looks: int = 0

    def __post_init__(self) -> None:
        self.reached, self._before = self.place.oid, self.place.position + 1
        self.found = Found(MOST_VERSIONS, MOST_BYTES, len(self.text))

    def go_on(self) -> bool:
        """Look at the next versions; tell whether there may be more."""
        page = touches(self.repo, self.path, None, self._before, _TOGETHER)
        olds = [touch.old.oid for touch in page.rows if touch.old is not None and touch.old.mode in REGULAR_MODES]
        self.repo.kinds.of(olds)  # which is remembered, as the contents are
        self.repo.objects.prefetch(olds, _AHEAD_BYTES)
        for touch in page.rows:
            if not self.asked.open or self.found.limit is not None:
                return False
            self._step(touch)
            breathe()  # others may run: a diff of large texts takes long
        if page.looked is None:
            return len(page.rows) == _TOGETHER
        self._before, self._looks = page.looked, self._looks + 1
        if self._looks == MOST_LOOKS and self.asked.open and self.found.limit is None:
            self.found.limit = Limit.ENTRIES
            self.reached = _tip_before(self.repo, page.looked) or self.reached
        return True

    def _step(self, touch: Touch) -> None:
        old = touch.old if touch.old is not None and touch.old.mode in REGULAR_MODES else None
        size = _size(self.repo, old) if old else 0
        if not self.found.has_room(touch, size):
            return
        older = self.repo.objects.blob(old.oid) if old else None
        self.found.take(touch, self.asked.step(self.text, older), size)
        self.text, self._before = older or b"", touch.position
        self.reached = touch.commit.parents[0]


def _tip_before(repo: Repository, position: int) -> ObjectId | None:
    """Return the newest commit of the chain before a position, None where none of the entries there made one."""
    last = position // SLOTS - 1
    for entry in history.read_entries(repo, range(last, max(0, last - history.MAX_READ), -1)):
        if isinstance(entry, Commits):
            return oid_of(entry.tip)
    return None


def _size(repo: Repository, version: Version) -> int:
    [described] = repo.kinds.of([version.oid]).values()
    return described.size


def _text(repo: Repository, version: Version) -> bytes:
    """Return the text of a version. Raises NoLines."""
    if version.mode not in REGULAR_MODES:
        raise NoLines("it is no regular file")
    size, most = _size(repo, version), repo.settings.max_shown_bytes
    if size > most:
        raise NoLines(f"it has {size} bytes; at most {most} are shown (max_shown_bytes)")
    text = repo.objects.blob(version.oid)
    if is_binary(text):
        raise NoLines("it is binary")
    return text
