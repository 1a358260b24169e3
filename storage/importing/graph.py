"""Making the graph of a history: parents and dominators of its commits (storage/lookup/imported_graph.py has its form).

In memory are some 150 bytes for each commit: its id, by which its children name it, and three numbers.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

from storage.base.ids import ObjectId
from storage.git.imported.git_output import listed
from storage.git.run_git import Git
from storage.importing.tables import RowSpool
from storage.lookup.imported_graph import Node, rows_of_commit


def index_graph(git: Git, tip: str, rows: RowSpool) -> None:
    """Add the rows of the commits that `tip` reaches, numbered in the order of path_index.py. Raises GitFailed."""
    numbers: dict[bytes, int] = {}
    dominators = Dominators()
    for number, (oid, *parents) in enumerate(_commits(git, tip)):
        numbers[oid] = number
        named = tuple(numbers[parent] for parent in parents)
        dominator, jump = dominators.add(named)
        for key, value in rows_of_commit(ObjectId(oid), number, Node(named, dominator, jump)):
            rows.add(key, value)


def _commits(git: Git, tip: str) -> Iterator[list[bytes]]:
    """Yield the ids of each commit and its parents, parents first."""
    for line in listed(git, "rev-list", "--date-order", "--reverse", "--parents", tip):
        yield [bytes.fromhex(each.decode()) for each in line.split()]


class Dominators:
    """The dominators of commits that come parents first, and a jump for each.

    That of a merge is the newest one that those of its parents have in common (Cooper, Harvey and Kennedy, 2001). In
    here a commit's number is one more than outside, and 0 is what is below all roots.
    """

    def __init__(self) -> None:
        self._dominator = array("I", [0])
        self._jump = array("I", [0])
        self._depth = array("I", [0])

    def add(self, parents: Iterable[int]) -> tuple[int, int]:
        """Take the next commit; return the numbers of its dominator and of its jump."""
        above = [parent + 1 for parent in parents]
        found = above[0] if above else 0
        for other in above[1:]:
            found = self._common(found, other)
        jump = self._jump[found]
        depth = self._depth
        # As far again as the last jump went, where the one before it went as far: so lengths are those of binary trees.
        is_even = depth[found] - depth[jump] == depth[jump] - depth[self._jump[jump]]
        self._dominator.append(found)
        self._jump.append(self._jump[jump] if is_even else found)
        depth.append(depth[found] + 1)
        return found - 1, self._jump[-1] - 1

    def _common(self, one: int, other: int) -> int:
        """Return the newest of two commits and their dominators that both have."""
        dominator, jump, depth = self._dominator, self._jump, self._depth
        if depth[one] < depth[other]:
            one, other = other, one
        while depth[one] > depth[other]:
            one = jump[one] if depth[jump[one]] >= depth[other] else dominator[one]
        while one != other:
            if jump[one] != jump[other]:
                one, other = jump[one], jump[other]
            else:
                one, other = dominator[one], dominator[other]
        return one
