"""The changesets of a claim that a batch really tries: only these are suspected if it fails or its worker dies."""

from collections.abc import Sequence

from storage.base.ids import ChangesetId
from storage.queue import Claimed, Queue


class Attempt:
    """A batch under way. Redis knows the same, for whoever buries its owner."""

    def __init__(self, queue: Queue, owner: str, claimed: Sequence[Claimed]) -> None:
        self._queue = queue
        self._owner = owner
        self._claimed = claimed
        self.tried = [item.id for item in claimed]

    def tries(self, changesets: Sequence[ChangesetId]) -> None:
        """Say that from now on exactly these of the claimed changesets are tried. Raises RedisError."""
        if list(changesets) != self.tried:
            self._queue.note_tried(self._owner, changesets)
            self.tried = list(changesets)

    def release(self, fault: str = "", only: str = "") -> None:
        """Give back all that was claimed; `fault` is held against what was tried, see Queue.release."""
        self._queue.release(self._owner, self._claimed, fault, only, self.tried)
