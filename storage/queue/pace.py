"""The size of batches: by how far the store is, and halved for each late batch from the second in a row on.

Where a PUT takes long (`is_far`), so does each entry of the log, however many changesets it decides: a batch then takes
more of them, of each principal as well. Where many are queued, a batch takes more of them too (lua/claim.lua): what it
costs besides its changesets is then the smaller part.

A store that could not process a large batch within its budget gets small ones, instead of the same one for ever. A
single late batch may have met a server that was unreachable for a moment, which says nothing about its size.
"""

from collections import deque

from storage.backends.deadline import SLOW_BYTES

FAR = 0.025
"""From so many seconds of a PUT on the store is far; one in the same data centre takes a few milliseconds."""
_PUTS = 4
_EASILY = 0.25


class Pace:
    """The pace of one process; it forgets with it. Safe for threads."""

    def __init__(self, usual: int, most: int, share: int) -> None:
        """`usual` is the limit of a batch; `most` is that for a store that is far, or where many are queued.

        `share` is the limit for each principal while several are active.

        Where `most` is below `usual`, batches never grow, and no store counts as far.
        """
        self._usual = usual
        self._most = most
        self._share = share
        self._puts: deque[float] = deque(maxlen=_PUTS)
        self._behind = 0  # batches in a row
        self._reduced: int | None = None
        self._fits: int | None = None

    @property
    def changesets(self) -> int:
        """How many changesets the next batch may take."""
        return self._full if self._reduced is None else min(self._full, self._reduced)

    @property
    def most(self) -> int:
        """How many changesets the next batch may take where many are queued."""
        most = self._highest if self._reduced is None else self._reduced
        return most if self._fits is None else min(most, self._fits)

    @property
    def share(self) -> int:
        """How many changesets of one principal the next batch may take while several are active."""
        return int(self._share * self._latency / FAR) if self.is_far else self._share

    @property
    def _full(self) -> int:
        return max(self._usual, min(self._most, int(self._usual * self._latency / FAR)))

    @property
    def _highest(self) -> int:
        return max(self._usual, self._most)

    @property
    def is_far(self) -> bool:
        """Whether the store is far."""
        return self._most >= self._usual and self._latency >= FAR

    @property
    def _latency(self) -> float:
        """Seconds that the store takes for a PUT: of the last ones the shortest, since a busy machine delays some."""
        return min(tuple(self._puts), default=0.0)

    def stored(self, seconds: float, size: int) -> None:
        """Count a PUT of `size` bytes, unless it may have taken half of its time by these."""
        by_bytes = size / SLOW_BYTES
        if seconds < FAR:
            self._puts.append(seconds)
        elif 2 * by_bytes <= seconds:
            self._puts.append(seconds - by_bytes)

    def took(self, claimed: int, taken: int) -> None:
        """Count a batch that took so many of those that it had claimed: the others did not fit by their bytes."""
        self._fits = None if taken == claimed else max(self._usual, 2 * taken)

    def fell_behind(self, tried: int) -> None:
        """Take fewer: a batch of `tried` changesets was not done in time, nor the one before."""
        self._behind += 1
        if self._behind > 1:
            self._reduced = max(1, min(self.most, tried) // 2)

    def went_well(self, used: float) -> None:
        """Take more again where twice as many would have fitted easily; `used` is the share of its time."""
        self._behind = 0
        if used < _EASILY and self._reduced is not None:
            self._reduced *= 2
            if self._reduced >= self._highest:
                self._reduced = None
