"""Deciding one changeset: for each path the version that it will have, or a conflict. Pure.

As if the changeset were a full-tree commit on its base, merged three-way without renames (invariant 6): with b the
version in the base, h the head's and n the new one, `n = b` keeps h, `h = b` takes n, `h = n` is nothing to do, and
all else is a conflict. All or nothing for a changeset.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from storage.edit import TreeEditor
from storage.ids import ChangesetId
from storage.manifest import Changeset
from storage.objects import SYMLINK_MODE, Version, as_file

# A conflicted changeset names so many of its conflicts; `conflict_count` in the outcome has them all.
MAX_CONFLICTS = 100


class ConflictClass(StrEnum):
    """What collides at a path."""

    CONTENT = "content"
    DELETE_MODIFY = "delete/modify"
    ADD_ADD = "add/add"
    DIRECTORY_FILE = "directory/file"
    MODE = "mode"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A path that moved since the changeset's base."""

    path: bytes
    kind: ConflictClass
    base: Version | None
    head: Version | None
    submitted: Version | None
    blocker: bytes | None = None  # directory/file: the file in the way, where it is another path


@dataclass(frozen=True, slots=True)
class Rejection:
    """A changeset that can never be committed: one of the reasons of docs/api.md, and a sentence."""

    reason: str
    detail: str
    first: ChangesetId | None = None  # of a duplicate: the changeset that has its key


Taken = dict[bytes, Version | None]
"""The paths whose version changes, with the new ones; None where the file goes."""


def decide(changeset: Changeset, seen: TreeEditor, head: TreeEditor) -> Taken | list[Conflict] | Rejection:
    """Decide `changeset` against the tree in `head`; `seen` is what its writer saw.

    Edits neither. Reads the directories on the changed paths.
    """
    taken: Taken = {}
    conflicts: list[Conflict] = []
    deletes = {change.path for change in changeset.changes if change.op == "delete"}
    for change in changeset.changes:
        b = as_file(seen.get(change.path))
        h = as_file(head.get(change.path))
        if changeset.base_versions:
            # Only the id was seen; a mode that moved meanwhile is not noticed, as docs/api.md says.
            b = Version(h.mode if h and h.oid == change.base else change.mode, change.base) if change.base else None
        if change.op == "mode" and b is None:
            return Rejection("missing-file", f"{change.path.decode()} is not in the base, so its mode cannot change")
        n = change.version(b)
        blocker = seen.file_in_the_way(change.path, deletes) if n else None
        if blocker is not None:
            detail = (
                f"{change.path.decode()} cannot be put where its base has {blocker.decode()}, which it does not delete"
            )
            return Rejection("in-the-way", detail)
        if n == b or h == n:
            continue
        if h == b:
            taken[change.path] = n
        else:
            conflicts.append(Conflict(change.path, _class(b, h, n), b, h, n))
    leaving = {path for path, version in taken.items() if version is None}
    for path, version in taken.items():
        if version is None:
            continue
        blocker = head.file_in_the_way(path, leaving)
        if blocker is not None:
            conflicts.append(
                Conflict(path, ConflictClass.DIRECTORY_FILE, seen.get(path), head.get(blocker), version, blocker)
            )
    return conflicts or taken


def apply(taken: Taken, head: TreeEditor) -> None:
    """Make the changes that `decide` took; deletes first, since a put may need their place."""
    for path, version in taken.items():
        if version is None:
            head.delete(path)
    for path, version in taken.items():
        if version is not None:
            head.put(path, version)


def _class(b: Version | None, h: Version | None, n: Version | None) -> ConflictClass:
    if b is None:
        return ConflictClass.ADD_ADD
    if h is None or n is None:
        return ConflictClass.DELETE_MODIFY
    if h.oid == n.oid and SYMLINK_MODE not in (h.mode, n.mode):
        return ConflictClass.MODE
    return ConflictClass.CONTENT
