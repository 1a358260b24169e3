"""Where a file is that a writer saw at a path: by the moves that the log has since then, and no others. Pure.

Nothing is guessed from similar contents. Moves are followed from the writer's base on: a base commit has a position in
the log, and so has what a stack stands on. What the stack itself moved its writers saw, so that is passed over. With a
base by versions no position is known: there the first move that is followed is the last one that took exactly the
version that was seen.

Nothing is looked up for a path that has the version that was seen, nor where no file moved since the base. All reads
are bounded, and return what the log had at the snapshot: whoever links again on it finds the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from storage.base.ids import ChangesetId, ObjectId, is_ulid, oid_of
from storage.git.objects import Version
from storage.git.paths import raw_path
from storage.log.entry import log_position
from storage.log.manifest import Changeset
from storage.log.records import Decided, Decision, Left, Outcome

MAX_MOVES = 100
"""Moves of one file that are followed, and moves away from one path that are looked at."""
MAX_STACK = 1000
"""Changesets of a stack that are looked at to learn what it stands on."""

ReadOutcome = Callable[[ChangesetId], Decision | None]
"""Returns the outcome of a changeset, None where it has none or is not known."""


class Trail(Protocol):
    """What deciding a changeset asks about moves."""

    def where(self, path: bytes, seen: Version) -> bytes | None:
        """Return where the file is now that was seen at `path` as `seen`; None where no move of it is recorded."""

    def may_change(self, path: bytes) -> bool:
        """Tell whether the changeset may change a path that it does not name."""


class NoTrail:
    """Where nothing moved."""

    def where(self, path: bytes, seen: Version) -> bytes | None:
        """Return None."""
        return None

    def may_change(self, path: bytes) -> bool:
        """Nothing is changed elsewhere."""
        return False


NO_TRAIL = NoTrail()


class MovesSince(Protocol):
    """What is stored about moves."""

    last: int
    """The position in the log of the last changeset that moved files, 0 where none did."""

    def position_of(self, commit: ObjectId) -> int:
        """Return the position in the log of a commit, 0 for one that is older than the log."""

    def moved(self, path: bytes, after: int) -> list[Left]:
        """Return the moves from a path behind a position, in log order; none where they are too many to look at."""


class _NoMoves:
    """A log without moves."""

    last = 0

    def position_of(self, commit: ObjectId) -> int:
        """Return 0."""
        return 0

    def moved(self, path: bytes, after: int) -> list[Left]:
        """Return nothing."""
        return []


NO_MOVES = _NoMoves()


class BatchMoves:
    """The moves of a batch that is being linked, behind those that the log has."""

    def __init__(self, stored: MovesSince, applied: int) -> None:
        self._stored = stored
        self._seq = applied + 1
        self._moved: dict[bytes, list[Left]] = {}
        self._positions: dict[ChangesetId, int] = {}

    def record(self, record: Decided) -> None:
        """Take the moves of the next changeset of the batch."""
        position = self._positions[record.id] = log_position(self._seq, len(self._positions))
        for moved in record.moves:
            self._moved.setdefault(raw_path(moved.source), []).append(Left.of(moved, position))

    def any_since(self, position: int) -> bool:
        """Tell whether files may have moved behind a position."""
        return bool(self._moved) or self._stored.last > position

    def moved(self, path: bytes, after: int) -> list[Left]:
        """Return the moves from a path behind a position, in log order."""
        own = [left for left in self._moved.get(path, ()) if left.position > after]
        return [*(self._stored.moved(path, after) if self._stored.last else ()), *own]

    def position_of(self, changeset: ChangesetId, outcome: Decision) -> int | None:
        """Return a decided changeset's position, in this batch or before it."""
        if changeset in self._positions:
            return self._positions[changeset]
        return log_position(outcome.seq, outcome.index) if isinstance(outcome, Outcome) else None

    def position_of_commit(self, commit: ObjectId) -> int:
        """Return a commit's position."""
        return self._stored.position_of(commit)


@dataclass(frozen=True, slots=True)
class _Since:
    """From where on moves count for a writer."""

    position: int
    own: frozenset[int] = frozenset()  # positions of the changesets of its stack: what these moved the writer saw


class ChangesetTrail:
    """The trail of one changeset; see the module."""

    def __init__(
        self,
        changeset: Changeset,
        moves: BatchMoves,
        outcome_of: ReadOutcome,
        read_outcome: ReadOutcome,
        may_change: Callable[[bytes], bool],
    ) -> None:
        """`outcome_of` returns None for what has no outcome in the snapshot, or is not known yet.

        `read_outcome` reads that of one further down a stack. `may_change` tells whether its slice has a path, and its
        submitter may write there.
        """
        self._changeset = changeset
        self._moves = moves
        self._outcome_of = outcome_of
        self._read_outcome = read_outcome
        self.may_change = may_change
        self._since: _Since | None = None
        self._is_known = False

    def where(self, path: bytes, seen: Version) -> bytes | None:
        """Return where a file is now, None where no move of it is recorded since it was seen."""
        if not self._moves.any_since(0):
            return None
        if self._changeset.base_versions:
            taken = [left for left in self._moves.moved(path, 0) if left.oid == seen.oid]
            return self._onward(taken[-1].to, _Since(taken[-1].position)) if taken else None
        since = self._writer_since()
        if since is None or not self._moves.any_since(since.position):
            return None
        at = self._onward(path, since)
        return None if at == path else at

    def _onward(self, path: bytes, since: _Since) -> bytes:
        position = since.position
        for _ in range(MAX_MOVES):
            steps = self._steps(path, _Since(position, since.own))
            if not steps:
                break
            path, position = steps[0].to, steps[0].position
        return path

    def _steps(self, path: bytes, since: _Since) -> list[Left]:
        return [left for left in self._moves.moved(path, since.position) if left.position not in since.own]

    def _writer_since(self) -> _Since | None:
        if not self._is_known:
            self._since, self._is_known = self._find_since(), True
        return self._since

    def _find_since(self) -> _Since | None:
        """Return from where on moves count; None where that is not known, or too far down."""
        changeset = self._changeset
        if changeset.base_commit is not None:
            return _Since(self._moves.position_of_commit(changeset.base_commit))
        base, own = changeset.base_changeset, set[int]()
        for _ in range(MAX_STACK):
            assert base is not None
            outcome = self._outcome_of(base) or self._read_outcome(base)
            position = self._moves.position_of(base, outcome) if outcome else None
            if outcome is None or position is None:
                return None
            if outcome.first:
                base = outcome.first  # the changeset of which it is a repeat
                continue
            if outcome.facts is None:
                return None
            own.add(position)
            below = outcome.facts.base
            if below is None:
                # On versions: what its writer saw was there before it was decided.
                return _Since(position, frozenset(own))
            if not is_ulid(below):
                return _Since(self._moves.position_of_commit(oid_of(below)), frozenset(own))
            base = ChangesetId(below)
        return None
