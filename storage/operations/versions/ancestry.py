"""Which commits of an imported history have which: merge bases, how many lie between, what a commit has.

Commits are numbers, parents below their children, so a walk from the highest number down meets every commit when all
that lead to it have been met: no date can mislead it, and what it says is final. Where only the end of a way counts, it
goes by dominators (storage/lookup/imported_graph.py), past everything on the way.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Protocol

from storage.backends.turns import breathe
from storage.base.errors import Refused
from storage.lookup.imported_graph import Node

MOST_WALKED = 50_000
"""Commits of an imported history that one request walks, at most."""
_BREATHES_EVERY = 500

_ONE, _OTHER, _BOTH, _STALE = 1, 2, 3, 4


class WalkTooLong(Refused):
    """More commits of the imported history would have to be walked than one request walks."""

    def __init__(self) -> None:
        super().__init__(f"more than {MOST_WALKED} imported commits would have to be walked (MOST_WALKED)")


class Nodes(Protocol):
    """What has the commits of a graph by their numbers."""

    def node(self, number: int) -> Node:
        """Return a commit."""


class Graph:
    """A graph, with how much of it may still be walked."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._left = MOST_WALKED

    def walk(self, number: int) -> Node:
        """Return a commit that a walk comes to. Raises WalkTooLong and Unavailable."""
        if not self._left:
            raise WalkTooLong
        self._left -= 1
        if self._left % _BREATHES_EVERY == 0:
            breathe()
        return self._nodes.node(number)

    def lowest_dominator(self, number: int, bound: int) -> int:
        """Return the lowest of a commit and its dominators that is not below `bound`."""
        while number > bound:
            node = self.walk(number)
            if node.jump >= bound:
                number = node.jump
            elif node.dominator >= bound:
                number = node.dominator
            else:
                break
        return number


def merge_bases(graph: Graph, one: int, other: int) -> list[int]:
    """Return the best common ancestors of two commits, as `git merge-base --all` does: the highest number first.

    That is Git's paint_down_to_common (commit-reach.c). Raises WalkTooLong and Unavailable.
    """
    high, low = max(one, other), min(one, other)
    # Whatever the higher one has of what is not above the lower one, it has by this dominator.
    high = graph.lowest_dominator(high, low)
    if high == low:
        return [low]
    found: list[int] = []
    marks = {high: _ONE, low: _OTHER}
    waiting = [-high, -low]
    left = {_ONE: 1, _OTHER: 1}  # of those that wait and are not stale, which have each mark
    while left[_ONE] and left[_OTHER]:
        number = -heappop(waiting)
        mark = marks.pop(number)
        _count(left, mark, -1)
        if mark == _BOTH:
            found.append(number)
            mark |= _STALE
        for parent in graph.walk(number).parents:
            before = marks.get(parent)
            if before is None:
                heappush(waiting, -parent)
            else:
                _count(left, before, -1)
            marks[parent] = (before or 0) | mark
            _count(left, marks[parent], 1)
    return found


def _count(left: dict[int, int], mark: int, by: int) -> None:
    if mark & _STALE:
        return
    for each in (_ONE, _OTHER):
        if mark & each:
            left[each] += by


def only_in_each(graph: Graph, one: int, other: int) -> tuple[int, int]:
    """Return how many commits each of two has that the other lacks. Raises WalkTooLong and Unavailable."""
    if one == other:
        return 0, 0
    counts = {_ONE: 0, _OTHER: 0}
    marks = {one: _ONE, other: _OTHER}
    waiting = sorted((-one, -other))
    differ = 2  # of those that wait, which only one has
    while differ:
        number = -heappop(waiting)
        mark = marks.pop(number)
        if mark != _BOTH:
            counts[mark] += 1
            differ -= 1
        for parent in graph.walk(number).parents:
            before = marks.get(parent)
            if before is None:
                heappush(waiting, -parent)
            elif before != _BOTH:
                differ -= 1
            marks[parent] = (before or 0) | mark
            differ += marks[parent] != _BOTH
    return counts[_ONE], counts[_OTHER]


class Ancestors:
    """What a commit has, asked for from higher numbers to lower ones."""

    def __init__(self, graph: Graph, number: int) -> None:
        self._graph = graph
        self._at = number  # it or one of its dominators
        self._below = number + 1  # the dominator of that, where it is known: the walk ends there
        self._waiting: list[int] = []  # what the walk has come to, and not gone behind
        self._met: set[int] = set()

    def has(self, number: int) -> bool:
        """Tell whether the commit is, or has, this one. Raises WalkTooLong and Unavailable."""
        if number > self._at:
            return False
        if number <= self._below:
            self._at = self._graph.lowest_dominator(self._at, number)
            self._waiting, self._met = [], set()
            self._below = self._at
            if self._at == number:
                return True
            node = self._graph.walk(self._at)
            self._below = node.dominator
            for parent in node.parents:
                self._reach(parent)
        return self._walked(number)

    def _walked(self, number: int) -> bool:
        while self._waiting and -self._waiting[0] > number:
            for parent in self._graph.walk(-heappop(self._waiting)).parents:
                self._reach(parent)
        return bool(self._waiting) and -self._waiting[0] == number

    def _reach(self, number: int) -> None:
        if number > self._below and number not in self._met:
            self._met.add(number)
            heappush(self._waiting, -number)
