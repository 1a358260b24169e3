"""Of which imported commits a caller may know what they say: those all of whose changed paths it may read.

Nobody wrote down which paths these are, so the trees are compared, as far as that takes: not below a directory that may
be read as a whole, and no further than to the first file that may not.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.access.caller import Caller
from storage.access.policy import Right
from storage.git.objects import EMPTY_TREE, TREE_MODE, Commit, Version
from storage.git.trees import version_rows
from storage.repository import Repository

MOST_TREES = 200
"""Trees that are read for one commit, at most; who would have to read more is told its id alone."""


def knows(repo: Repository, who: Caller, commit: Commit) -> bool:
    """Tell whether a caller may know an imported commit's message and people. Raises Unavailable.

    A merge changes what differs from any of its parents: its message may tell of each. Of a commit that changes nothing
    readers of `/` alone may know.
    """
    if who.reads_all:
        return True
    judge = _Judge(repo, who)
    old = [repo.objects.commit(parent).tree for parent in commit.parents] or [EMPTY_TREE]
    differ = [tree for tree in old if tree != commit.tree]
    new = Version(TREE_MODE, commit.tree)
    return bool(differ) and all(judge.may_read_all(Version(TREE_MODE, tree), new) for tree in differ)


@dataclass(slots=True)
class _Judge:
    repo: Repository
    who: Caller
    left: int = MOST_TREES

    def may_read_all(self, old: Version, new: Version) -> bool:
        """Tell whether all may be read in which two directories differ."""
        waiting: list[tuple[bytes, Version | None, Version | None]] = [(b"", old, new)]  # directories that differ
        while waiting:
            base, old_tree, new_tree = waiting.pop()
            self.left -= 2
            if self.left < 0:
                return False
            before, now = self._rows(old_tree), self._rows(new_tree)
            for name in before.keys() | now.keys():
                was, then = before.get(name), now.get(name)
                if was == then:
                    continue
                path = base + name
                if any(side is not None and not side.is_tree for side in (was, then)) and not self._may(path):
                    return False
                was_tree, then_tree = (side if side is not None and side.is_tree else None for side in (was, then))
                if (was_tree or then_tree) and not self._may(path + b"/"):
                    waiting.append((path + b"/", was_tree, then_tree))
        return True

    def _rows(self, directory: Version | None) -> dict[bytes, Version]:
        return version_rows(self.repo.objects.tree(directory.oid)) if directory is not None else {}

    def _may(self, path: bytes) -> bool:
        return self.who.may(Right.READ, [path])
