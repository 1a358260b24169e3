"""Reading the moves that the log has: those of the view, and behind it those of the archive."""

from __future__ import annotations

from storage.base.errors import ViewStale
from storage.base.ids import ChangesetId, ObjectId, is_ulid
from storage.git.trailers import CHANGESET_ID, changeset_of_old, trailers
from storage.log.entry import SLOTS, log_position
from storage.log.records import Left
from storage.lookup.object_store import ObjectMissing
from storage.moves.trail import MAX_MOVES
from storage.repository import Repository
from storage.view.moves import moved_from
from storage.view.snapshot import Head


class StoredMoves:
    """The moves that the log has as of one snapshot, each read once. Raises Unavailable and Corrupt."""

    def __init__(self, repo: Repository, head: Head) -> None:
        self.last = head.moved
        self._repo = repo
        self._head = head
        self._positions: dict[ObjectId, int] = {}
        self._moved: dict[tuple[bytes, int], list[Left]] = {}

    def position_of(self, commit: ObjectId) -> int:
        """Return the position in the log of a commit: of its changeset, or behind all that a global commit merged."""
        if commit not in self._positions:
            self._positions[commit] = self._position_of(commit)
        return self._positions[commit]

    def _position_of(self, commit: ObjectId) -> int:
        name = commit.hex()
        made = self._repo.view.merge(name) or self._repo.archive.global_commit(name)
        if made:
            return log_position(made.through, SLOTS - 1)
        try:
            message = self._repo.objects.commit(commit).message
        except ObjectMissing:
            return 0  # which its changeset is rejected for
        named = [value for trailer, value in trailers(message) if trailer == CHANGESET_ID]
        for changeset in filter(is_ulid, [*named, changeset_of_old(message) or ""]):
            outcome = self._repo.outcome(ChangesetId(changeset))
            if outcome and outcome.commit == name:
                return log_position(outcome.seq, outcome.index)
        return 0

    def moved(self, path: bytes, after: int) -> list[Left]:
        """Return the moves from a path, out of the view and out of the archive."""
        if (path, after) not in self._moved:
            self._moved[path, after] = self._read(path, after)
        return self._moved[path, after]

    def _read(self, path: bytes, after: int) -> list[Left]:
        known = moved_from(self._repo.view, path, after, MAX_MOVES + 1)
        if known.applied < self._head.applied:
            raise ViewStale("the view has gone back")
        older: list[Left] | None = []
        if after < log_position(known.archived, SLOTS - 1):
            # Behind the view: what left it meanwhile stands there.
            older = self._repo.archive.moved_from(path, after, known.compacted, MAX_MOVES)
        if older is None or len(older) + len(known.rows) > MAX_MOVES:
            return []
        rows = {row.position: row for row in (*older, *known.rows)}
        end = log_position(self._head.applied, SLOTS - 1)
        return [rows[position] for position in sorted(rows) if position <= end]
