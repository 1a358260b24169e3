"""What linking a batch holds in memory, and how it stays bounded. Pure.

Each changeset that is committed makes new trees of every directory on its paths, all of them whole. So a few hundred
small changes to one large directory make hundreds of megabytes, and look things up in as many bases of that size: the
number of changesets bounds neither.
"""

from __future__ import annotations

from storage.edit import TreeEditor
from storage.ids import ChangesetId, ObjectId
from storage.objects import Tree
from storage.trees import ReadTree


class Made:
    """Bytes that a batch has made so far, with those that it has still to make for its stacks."""

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


class LookUps:
    """Trees in which things are looked up and nobody edits: each directory is read once while there is room."""

    def __init__(self, read: ReadTree, most: int | None) -> None:
        """`most` is how many bytes they may take in memory; None where there is no limit."""
        self._read = read
        self._most = most
        self._memory = 0
        self._editors: dict[ObjectId, TreeEditor] = {}

    def __getitem__(self, oid: ObjectId) -> TreeEditor:
        """Return an editor that looks things up in a tree."""
        if oid not in self._editors:
            if self._most is not None and self._memory > self._most:
                # All at once: which of them is needed again, nobody knows, and the store has some of their trees.
                self._editors.clear()
                self._memory = 0
            self._editors[oid] = TreeEditor(self._counted, oid)
        return self._editors[oid]

    def _counted(self, oid: ObjectId) -> Tree:
        tree = self._read(oid)
        self._memory += tree.memory
        return tree
