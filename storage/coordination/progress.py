"""How a queued changeset gets on: how fast its slice is decided, and which later ones were decided before it."""

from __future__ import annotations

from typing import NamedTuple

from storage.log.records import Status
from storage.view.view import View

_DECIDED = (Status.COMMITTED, Status.CONFLICTED, Status.REJECTED, Status.ABANDONED)
# The newest decided changesets of each status that are looked at.
_LOOK = 200
_SHOWN = 20


class Progress(NamedTuple):
    """How far a changeset has come in its slice's queue."""

    position: int | None  # how many are before it; None where it stands in no queue
    decided: int  # changesets of the slice that left the queue lately
    over: float  # the seconds in which they did, without those in which the queue was empty
    passed: int  # submitted later, and decided before it
    complete: bool  # whether `passed` counts all of them, or at least so many
    passed_by: list[str]  # the newest of them, newest first

    @property
    def seconds(self) -> float | None:
        """In how many seconds it is decided, if the queue goes on as it did; None where nothing is known of that."""
        if self.position is None or not self.decided or self.over <= 0:
            return None
        return (self.position + 1) * self.over / self.decided


def progress_of(view: View, slice_id: str, changeset: str) -> Progress:
    """Return how a changeset gets on that is queued in a slice. Raises ViewAbsent and redis.RedisError."""
    answer = view.scripts("progress", slice_id, changeset, _LOOK, _SHOWN, *_DECIDED)
    position, decided, over, passed, complete, ids = answer
    newest = [id_.decode() for id_ in ids]
    return Progress(position, decided, over / 1000, passed, bool(complete), newest)
