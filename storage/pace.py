"""How many changesets a batch takes while servers are slow: half as many after each that was not done in time.

So a store that could not take a large batch within its budget takes small ones, instead of the same one for ever.
"""

from __future__ import annotations


class Pace:
    """The pace of one process; it forgets with it."""

    def __init__(self, most: int) -> None:
        """`most` is the number of changesets of a batch where nothing is wrong."""
        self._most = most
        self.changesets = most
        """How many changesets the next batch may take."""

    def fell_behind(self, tried: int) -> None:
        """Take fewer: a batch of `tried` changesets was not done in time."""
        self.changesets = max(1, min(self.changesets, tried) // 2)

    def went_well(self) -> None:
        """Take more again."""
        self.changesets = min(self._most, 2 * self.changesets)
