"""Proving a root before the log sees it (invariant 7). Pure.

`trees.diff`, which shares no code with the tree editor, computes the difference between the old and the new root from
the bytes that will be stored; it must be exactly the changes of the batch.
"""

from storage.base.errors import Corrupt
from storage.base.ids import ObjectId
from storage.commit.decide import Taken
from storage.git.objects import CorruptObject, Tree, as_file
from storage.git.trees import ReadTree, diff, lookup_many


class RootMismatch(Corrupt):
    """The new root is not the old one with the batch's changes: a bug, and nothing may be committed."""

    def __init__(self, paths: list[bytes]) -> None:
        super().__init__(f"the new root differs from the batch's changes at {len(paths)} paths, first {paths[:5]!r}")
        self.paths = paths


def prove(read: ReadTree, old_root: ObjectId, new_root: ObjectId, net: Taken) -> None:
    """Check that `new_root` is `old_root` with exactly the changes `net`.

    Raises RootMismatch. Costs the directories on changed paths, each read once in either tree however many of its paths
    changed; and once more in the old one where the batch as a whole left a path of theirs as it was.
    """
    changed = {path: version for path, _, version in diff(_checked(read), old_root, new_root)}
    same = [path for path in net if path not in changed]
    before = lookup_many(read, old_root, same)
    wrong = [path for path, version in changed.items() if path not in net or net[path] != version]
    wrong += [path for path in same if as_file(before[path]) != net[path]]
    if wrong:
        raise RootMismatch(sorted(wrong))


def _checked(read: ReadTree) -> ReadTree:
    """Return a reader that also refuses trees whose rows are not in Git's order, or stand twice."""

    def checked(oid: ObjectId) -> Tree:
        tree = read(oid)
        if tree.in_order:
            return tree
        names = {key.rstrip(b"/") for key in tree.keys}
        if len(names) != len(tree.keys) or sorted(tree.keys) != tree.keys:
            raise CorruptObject(f"tree {oid.hex()} is not in Git's order, or has a name twice")
        tree.in_order = True
        return tree

    return checked
