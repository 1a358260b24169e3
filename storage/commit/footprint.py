"""Limits on the memory that linking a batch needs. Pure.

Each committed changeset makes new, whole trees of every directory on its paths. So a few hundred small changes in one
large directory make hundreds of megabytes of trees, and look things up in as many bases of that size: a limit on the
number of changesets bounds neither.

What a changeset makes is known beforehand, near enough: each directory on its paths, whole. So what would not fit is
left to the next batch before its bases are read, and every slice gets its turn: changesets of one that works in a large
directory do not keep small ones of others waiting.
"""

from collections.abc import Mapping, Sequence

from storage.base.ids import ChangesetId, ObjectId, SliceId
from storage.git.objects import Tree
from storage.git.tree_editor import TreeEditor
from storage.git.trees import ReadTree
from storage.log.manifest import Changeset


class Made:
    """Bytes that a batch has made so far, including those that it still has to make for its stacks."""

    def __init__(self, most: int | None) -> None:
        """`most` is how many bytes a batch may make; None where there is no limit."""
        self._most = most
        self._made = 0
        self._unwritten: dict[ChangesetId, int] = {}

    def add(self, size: int) -> None:
        """Count a new object."""
        self._made += size

    def open(self, changeset: ChangesetId, editor: TreeEditor) -> None:
        """Count what will be written of a tree under change."""
        self._unwritten[changeset] = editor.unwritten

    def close(self, changeset: ChangesetId) -> None:
        """Count a tree under change no more: it goes on under another name."""
        self._unwritten.pop(changeset, None)

    @property
    def is_full(self) -> bool:
        """Whether the batch should take no further changeset."""
        return self._most is not None and self._made + sum(self._unwritten.values()) >= self._most


class NewTrees:
    """The trees that a batch made, and behind them the stored ones.

    It is a separate object to which readers refer, and which refers to none of them: in a reference cycle the trees of
    several batches would stay in memory until Python's cyclic garbage collector runs.
    """

    def __init__(self, read: ReadTree) -> None:
        """`read` reads what is stored."""
        self._read = read
        self._new: dict[ObjectId, bytes] = {}
        self.parsed: dict[ObjectId, Tree] = {}
        """Those of the batch that were read again, such as by `prove`."""

    def add(self, oid: ObjectId, data: bytes) -> bool:
        """Add a tree; tell whether it is new."""
        if oid in self._new:
            return False
        self._new[oid] = data
        return True

    def read(self, oid: ObjectId) -> Tree:
        """Return a tree, of the batch or from storage."""
        data = self._new.get(oid)
        if data is None:
            return self._read(oid)
        if oid not in self.parsed:
            self.parsed[oid] = Tree.parse(data)
        return self.parsed[oid]


class LookUps:
    """Trees that are only read: each directory is read once, as long as there is room for it."""

    def __init__(self, read: ReadTree, most: int | None) -> None:
        """`most` is how many bytes they may take in memory; None where there is no limit."""
        self._trees = _Counted(read)
        self._most = most
        self._editors: dict[ObjectId, TreeEditor] = {}

    def __getitem__(self, oid: ObjectId) -> TreeEditor:
        """Return an editor that looks things up in a tree."""
        if oid not in self._editors:
            if self._most is not None and self._trees.memory > self._most:
                # All at once: which of them is needed again, nobody knows, and the store has some of their trees.
                self._editors.clear()
                self._trees.memory = 0
            self._editors[oid] = TreeEditor(self._trees.read, oid)
        return self._editors[oid]


class _Counted:
    """Reads trees and counts what they take in memory; holds no reader, as NewTrees does not."""

    def __init__(self, read: ReadTree) -> None:
        self._read = read
        self.memory = 0

    def read(self, oid: ObjectId) -> Tree:
        tree = self._read(oid)
        self.memory += tree.memory
        return tree


def portion(changesets: Sequence[Changeset], sizes: Mapping[bytes, int], most: int) -> list[Changeset]:
    """Return those of `changesets` that one batch takes, in their order: one at least.

    `sizes` are the bytes of the head's directories by path, as `trees.sizes` returns them. Slices take turns, first the
    one whose first changeset has the lowest id; none goes on behind a changeset that does not fit.
    """
    queues: dict[SliceId, list[Changeset]] = {}
    for changeset in changesets:
        queues.setdefault(changeset.slice, []).append(changeset)
    turns = sorted(queues.values(), key=lambda queue: queue[0].id)
    taken: set[ChangesetId] = set()
    total = at = 0
    while turns:
        following = []
        for queue in turns:
            cost = _cost(queue[at], sizes)
            if taken and total + cost > most:
                continue
            taken.add(queue[at].id)
            total += cost
            if at + 1 < len(queue):
                following.append(queue)
        turns, at = following, at + 1
    return [changeset for changeset in changesets if changeset.id in taken]


def _cost(changeset: Changeset, sizes: Mapping[bytes, int]) -> int:
    """Return the bytes of the directories on a changeset's paths; those that are new cost next to nothing."""
    directories = {b""}
    for change in changeset.changes:
        end = change.path.rfind(b"/") + 1
        while end and change.path[:end] not in directories:
            directories.add(change.path[:end])
            end = change.path.rfind(b"/", 0, end - 1) + 1
    return sum(sizes.get(directory, 0) for directory in directories)
