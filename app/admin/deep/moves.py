"""A witness for moves: where files went, told from the log's records alone, by other code than what decides batches.

It is how a full verification checks them (invariant 6). Git's verdict is asked without renames. So what a changeset
wants of a file that moved is put where the file is in all three trees that Git merges; and a file that a changeset
moves is put at its new place in the base and in the head. What Git makes of that has to be what the log has, and the
log has to have recorded exactly these moves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.admin.deep.merges import Differs
from app.admin.deep.versions import above
from storage.base.ids import ChangesetId
from storage.git.objects import Version, as_file
from storage.git.paths import raw_path, recorded_path
from storage.git.threeway import ConflictClass, Strategy
from storage.log.manifest import Changeset, Proposal
from storage.log.records import Decided, Followed, Moved, Status
from storage.moves.trail import MAX_MOVES, MAX_STACK

Files = dict[bytes, Version | None]


class Witness:
    """The moves so far, by the place of their changesets in the log."""

    def __init__(self) -> None:
        self._count = 0
        self._leaving: dict[bytes, list[tuple[int, str, bytes]]] = {}
        self._places: dict[ChangesetId, int] = {}
        self._commits: dict[str, int] = {}
        self._bases: dict[ChangesetId, str | ChangesetId | None] = {}  # a commit, a changeset, or None for versions

    def take(self, record: Decided, changeset: Changeset | None) -> None:
        """Take the next decided changeset, with what was submitted where that is known."""
        self._count += 1
        self._places[record.id] = self._count
        if record.commit:
            self._commits[record.commit] = self._count
        if changeset is not None:
            commit = changeset.base_commit.hex() if changeset.base_commit else None
            self._bases[record.id] = changeset.base_changeset or commit
        for source, path, oid in record.moves:
            self._leaving.setdefault(raw_path(source), []).append((self._count, oid, raw_path(path)))

    def publish(self, commit: str, tip: str) -> None:
        """Take a global commit, which has what `tip` of the chain has."""
        self._commits[commit] = self._commits.get(tip, 0)

    @property
    def is_empty(self) -> bool:
        """Whether nothing ever moved."""
        return not self._leaving

    def where(
        self, changeset: Changeset, path: bytes, seen: Version, first_of: Callable[[ChangesetId], ChangesetId]
    ) -> bytes:
        """Return where the file is now that a changeset's writer saw at a path."""
        if self.is_empty:
            return path
        own: set[int] = set()
        if changeset.base_versions:
            same = [move for move in self._leaving.get(path, ()) if move[1] == seen.oid.hex()]
            if not same:
                return path
            after, _, path = same[-1]
        else:
            base: str | ChangesetId | None = changeset.base_commit.hex() if changeset.base_commit else None
            stacked, deep = changeset.base_changeset, 0
            after = self._commits.get(base, 0) if base else 0
            while stacked is not None:
                stacked = first_of(stacked)
                if deep == MAX_STACK or stacked not in self._bases:
                    return path
                own.add(self._places[stacked])
                below, deep = self._bases[stacked], deep + 1
                if below is None:
                    after, stacked = self._places[stacked], None
                elif len(below) == 40:
                    after, stacked = self._commits.get(below, 0), None
                else:
                    stacked = ChangesetId(below)
        return self._onward(path, after, own)

    def _onward(self, path: bytes, after: int, own: set[int]) -> bytes:
        for _ in range(MAX_MOVES):
            moves = self._leaving.get(path, [])
            late = moves[bisect_right(moves, after, key=lambda move: move[0]) :]
            step = next((move for move in late if move[0] not in own), None)
            if step is None:
                break
            after, _, path = step
        return path


@dataclass(slots=True)
class Relocated:
    """What is different in the trees that Git merges, and what the log should say."""

    base: Files = field(default_factory=dict)
    head: Files = field(default_factory=dict)
    submitted: Files = field(default_factory=dict)
    must_conflict: bool = False
    unchecked: bool = False
    moves: set[tuple[str, str, str]] = field(default_factory=set)
    followed: set[tuple[str, str]] = field(default_factory=set)
    found: dict[bytes, bytes] = field(default_factory=dict)  # by change: where its file is

    def check(self, record: Decided, at: str) -> None:
        """Compare with what the log says of moves. Raises Differs.

        What moved to where a changeset may not change it conflicts: of rights, Git knows nothing.
        """
        for conflict in record.conflicts:
            if conflict.kind == ConflictClass.MOVED:
                self.must_conflict = True
                if recorded_path(self.found.get(raw_path(conflict.path), b"")) != conflict.moved:
                    raise Differs(f"{at}: {conflict.path} is not at {conflict.moved}, by what is recorded")
        if self.unchecked or record.status != Status.COMMITTED:
            return
        for name, wanted in (("moves", self.moves), ("followed", self.followed)):
            recorded = {tuple(row) for row in getattr(record, name)}
            if recorded != wanted:
                first = min(recorded ^ wanted)
                raise Differs(f"{at}: its `{name}` are not those that follow from the log, first {first}")


def as_submitted(changeset: Changeset, before: Mapping[bytes, Version | None]) -> Relocated:
    """Return what the log should say where the head is what the writer saw."""
    made = Relocated()
    for change in changeset.changes:
        if change.source is not None and (left := before[change.source]):
            made.moves.add(Moved.of(change.source, change.path, left.oid))
    return made


def relocated(
    changeset: Changeset,
    before: Mapping[bytes, Version | None],
    heads: Callable[[list[bytes]], Mapping[bytes, Version | None]],
    where: Callable[[bytes, Version], bytes],
) -> Relocated:
    """Return how the trees of a changeset are changed; `before` is what its writer saw, `heads` what stands there."""
    made = Relocated()
    changes = {change.path: change for change in changeset.changes}
    raw = heads(list(changes))
    stands = {path: as_file(version) for path, version in raw.items()}
    sources = {change.source for change in changeset.changes}
    wanted = [change for change in changeset.changes if change.path not in sources]
    found = {change.path: _found(change, before, stands, where, changes) for change in wanted}
    made.found = found
    elsewhere = heads([path for path in dict.fromkeys(found.values()) if path not in stands])
    stands |= {path: as_file(version) for path, version in elsewhere.items()}
    blocked = _blocked([change.path for change in wanted if change.source is not None], raw, heads, changes)
    for change in wanted:
        at, seen = found[change.path], before[change.seen_at]
        if change.source is not None:
            if change.path not in blocked:
                _move(change, at, seen, stands, made)
        elif at != change.path and seen is not None:
            _edit(change, at, _with_mode(change, seen, stands[at], changeset), stands, made)
    return made


def _blocked(
    targets: list[bytes],
    raw: Mapping[bytes, Version | None],
    heads: Callable[[list[bytes]], Mapping[bytes, Version | None]],
    changes: Mapping[bytes, Proposal],
) -> set[bytes]:
    """Return the targets of moves where the head has a directory, or a file above that stays: Git sees that itself."""
    over = heads(above(targets)) if targets else {}
    files = {path for path, version in over.items() if as_file(version) is not None}
    leaving = {path for path, change in changes.items() if change.op == "delete"}
    blocked = set()
    for path in targets:
        there = raw[path]
        if (there is not None and there.is_tree) or (files - leaving).intersection(above([path])):
            blocked.add(path)
    return blocked


def _found(
    change: Proposal,
    before: Mapping[bytes, Version | None],
    stands: Mapping[bytes, Version | None],
    where: Callable[[bytes, Version], bytes],
    changes: Mapping[bytes, Proposal],
) -> bytes:
    """Return where the file of a change is by now."""
    path = change.seen_at
    seen, head = before[path], stands[path]
    if seen is None or head == seen or (change.op == "put" and head == change.version(seen)):
        return path
    at = where(path, seen)
    return path if at in changes and at != change.path else at


def _with_mode(change: Proposal, seen: Version, head: Version | None, changeset: Changeset) -> Version:
    """Return what was seen, with the head's mode where a base by versions does not tell it."""
    known = not changeset.base_versions or change.base_mode is not None or head is None
    return seen if known or head is None else Version(head.mode, seen.oid)


def _edit(change: Proposal, at: bytes, seen: Version, stands: Mapping[bytes, Version | None], made: Relocated) -> None:
    if change.strategy == Strategy.OURS:
        # As if nothing had been submitted.
        made.base[change.path] = made.submitted[change.path] = None
        return
    if change.strategy == Strategy.EXACT or at in made.submitted:
        made.must_conflict = True
        return
    new, head = change.version(seen), stands[at]
    over = change.strategy == Strategy.THEIRS
    if over and change.op == "mode":
        new = Version(change.mode, head.oid) if head else new
    made.base |= {change.path: None, at: head if over else seen}
    made.submitted |= {change.path: None, at: new}
    made.followed.add(Followed.of(change.path, at))


def _move(
    change: Proposal, at: bytes, seen: Version | None, stands: Mapping[bytes, Version | None], made: Relocated
) -> None:
    source, path = change.seen_at, change.path
    head, there = stands[at], stands[path]
    new = change.version(seen)
    if head is None and there == new:
        return
    if (head != seen or at not in (source, path)) and change.strategy in (Strategy.OURS, Strategy.THEIRS):
        made.unchecked = True
    elif at != path and there not in (None, new) and change.strategy == Strategy.OURS:
        made.unchecked = True  # versions before this one made a conflict of it
    elif head is None or at not in (source, path) or (head != seen and change.strategy == Strategy.EXACT):
        made.must_conflict = True
    elif at == path:
        made.base |= {source: None, path: seen}
    elif there is None:
        made.base |= {source: None, path: seen}
        made.head |= {source: None, path: head}
        made.moves.add(Moved.of(source, path, head.oid))
    elif change.strategy == Strategy.THEIRS or head != seen:
        made.unchecked = True  # whether both came to the same
    elif there != new:
        made.must_conflict = True


def same_changes(record: Decided, changeset: Changeset) -> bool:
    """Tell whether a record has the changes that were submitted: paths, modes, contents, and where files come from."""
    submitted = (change.recorded() for change in changeset.changes)
    return [(*each[:3], each.source) for each in record.changes] == [(*each[:3], each.source) for each in submitted]
