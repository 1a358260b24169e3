"""A history with merges, reduced to a slice: which of its commits are kept, and on which others they stand. Pure.

The rule is that of `git log -- PATHS`: a commit whose reduced tree is that of one of its parents is left out, and
stands for what that parent stands for (the first such one, in their order); so of a merge that took one side as it was,
that side is the history. All others are kept, on what their parents stand for. A commit is left out, too, where the
slice has nothing yet, and stands for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from storage.base.ids import ObjectId
from storage.git.objects import EMPTY_TREE

_NOTHING = -1


class Kept(NamedTuple):
    """A commit that is kept."""

    commit: ObjectId
    tree: ObjectId  # its own, reduced
    parents: tuple[int, ...]  # numbers of kept ones before it, in order, none twice


class SimplifiedHistory:
    """Takes the commits of a history, parents first. Holds some hundred bytes for each commit."""

    def __init__(self, reduce: Callable[[ObjectId], ObjectId], touched: Collection[ObjectId] | None) -> None:
        """`reduce` returns a root's tree of the slice; it is asked of as few commits as can be.

        `touched` has the commits that may have changed something in the slice, merges that differ there at one path
        from all their parents among them; None: any may have.
        """
        self._reduce = reduce
        self._touched = touched
        self._kept: list[Kept] = []
        self._stands_for: dict[ObjectId, int] = {}

    def add(self, commit: ObjectId, root: ObjectId, parents: Sequence[ObjectId]) -> bool:
        """Take a commit; tell whether it is kept: then the tree that was reduced last is its own."""
        stand = [self._stands_for[parent] for parent in parents]
        trees = [self._kept[number].tree if number != _NOTHING else EMPTY_TREE for number in stand]
        # At each path such a merge has what one of its parents has; where these have the same everywhere, so has it.
        if self._touched is not None and commit not in self._touched and len(set(trees)) < 2:
            self._stands_for[commit] = stand[0] if stand else _NOTHING
            return False
        tree = self._reduce(root)
        same = trees.index(tree) if tree in trees else None
        if same is not None or (not parents and tree == EMPTY_TREE):
            self._stands_for[commit] = stand[same] if same is not None else _NOTHING
            return False
        self._stands_for[commit] = len(self._kept)
        self._kept.append(Kept(commit, tree, tuple([n for n in dict.fromkeys(stand) if n != _NOTHING])))
        return True

    def of(self, tip: ObjectId) -> list[Kept]:
        """Return the kept commits that are reached from what a commit stands for, which is the last one of them."""
        last = self._stands_for[tip]
        if last == _NOTHING:
            return []
        reached = bytearray(last + 1)
        reached[last] = True
        for number in range(last, -1, -1):
            if reached[number]:
                for parent in self._kept[number].parents:
                    reached[parent] = True
        numbers: dict[int, int] = {}
        found: list[Kept] = []
        for number in range(last + 1):
            if reached[number]:
                numbers[number] = len(found)
                kept = self._kept[number]
                found.append(kept._replace(parents=tuple([numbers[parent] for parent in kept.parents])))
        return found
