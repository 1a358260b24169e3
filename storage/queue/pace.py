"""The size of batches while servers are slow: halved for each late batch, from the second in a row on.

So a store that could not process a large batch within its budget gets small ones, instead of the same one for ever. A
single late batch may have met a server that was unreachable for a moment, which says nothing about its size.
"""

_EASILY = 0.25


class Pace:
    """The pace of one process; it forgets with it."""

    def __init__(self, most: int) -> None:
        """`most` is the number of changesets of a batch where nothing is wrong."""
        self._most = most
        self._behind = 0  # batches in a row
        self.changesets = most
        """How many changesets the next batch may take."""

    def fell_behind(self, tried: int) -> None:
        """Take fewer: a batch of `tried` changesets was not done in time, nor the one before."""
        self._behind += 1
        if self._behind > 1:
            self.changesets = max(1, min(self.changesets, tried) // 2)

    def went_well(self, used: float) -> None:
        """Take more again where twice as many would have fitted easily; `used` is the share of its time."""
        self._behind = 0
        if used < _EASILY:
            self.changesets = min(self._most, 2 * self.changesets)
