"""Deciding one changeset: for each path the version that it will have, or a conflict. Pure, given a merge of contents.

The result is as if the changeset were a full-tree commit on its base, merged three ways without renames (invariant 6).
At each path `base` is the version in the base, `ours` the head's and `theirs` the submitted one, which are merged by
storage/git/threeway.py. A changeset is applied completely or not at all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from storage.base.ids import ChangesetId, ObjectId
from storage.git.objects import (
    EXECUTABLE_MODE,
    FILE_MODE,
    REGULAR_MODES,
    SUBMODULE_MODE,
    SYMLINK_MODE,
    UNKNOWN_MODE,
    Version,
    as_file,
)
from storage.git.paths import as_text
from storage.git.threeway import ConflictClass, MergeContents, Strategy, merge_base, merge_path
from storage.git.tree_editor import TreeEditor
from storage.log.manifest import Changeset, Proposal

# A conflicted changeset names so many of its conflicts; `conflict_count` in the outcome has them all.
MAX_CONFLICTS = 100


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


MergeFile = Callable[[bytes, ObjectId | None, ObjectId, ObjectId], ObjectId | ConflictClass]
"""Merges the contents of a file at a path: the blobs of base (None: an empty one), head and submission."""

Taken = dict[bytes, Version | None]
"""The paths whose version changes, with the new ones; None where the file goes."""


def decide(
    changeset: Changeset, seen: TreeEditor, head: TreeEditor, merge_file: MergeFile, blind: bool = False
) -> Taken | list[Conflict] | Rejection:
    """Decide `changeset` against the tree in `head`; `seen` is what its writer saw.

    `blind`: its stack stands on a base by versions, so that what is not in `seen` may have been there all the same.
    Edits neither. Reads the directories on the changed paths, and contents only where both sides changed them.
    """
    taken: Taken = {}
    conflicts: list[Conflict] = []
    before: dict[bytes, Version | None] = {}
    deletes = {change.path for change in changeset.changes if change.op == "delete"}
    for change in changeset.changes:
        ours = as_file(head.get(change.path))
        base = seen_version(changeset, change, as_file(seen.get(change.path)), ours)
        no_mode = why_no_mode(change, base)
        if no_mode:
            return Rejection("missing-file", no_mode)
        if blind and change.op == "delete" and base is None and ours is not None:
            detail = f"{change.path.decode()} is in none of the changesets that it stacks on, whose base names versions"
            return Rejection("missing-file", detail)
        theirs = change.version(base)
        blocker = seen.file_in_the_way(change.path, deletes) if theirs else None
        if blocker is not None:
            detail = (
                f"{change.path.decode()} cannot be put where its base has {as_text(blocker)}, which it does not delete"
            )
            return Rejection("in-the-way", detail)
        before[change.path] = base
        version = _merge(change, base_to_merge(change, base, ours), ours, theirs, partial(merge_file, change.path))
        if isinstance(version, ConflictClass):
            conflicts.append(Conflict(change.path, version, base, ours, theirs))
        elif version != ours:
            taken[change.path] = version
    leaving = {path for path, version in taken.items() if version is None}
    for path, version in taken.items():
        if version is None:
            continue
        blocker = head.file_in_the_way(path, leaving)
        if blocker is not None:
            conflicts.append(
                Conflict(path, ConflictClass.DIRECTORY_FILE, before[path], head.get(blocker), version, blocker)
            )
    return conflicts or taken


def why_no_mode(change: Proposal, seen: Version | None) -> str | None:
    """Return why a change of mode alone cannot be made of what its writer saw, which has to be a regular file.

    To Git, the mode of a symlink or submodule is its kind: with another one it would be a file of another content.
    """
    if change.op != "mode" or (seen is not None and seen.mode in (*REGULAR_MODES, UNKNOWN_MODE)):
        return None
    kinds = {SYMLINK_MODE: "a symlink in", SUBMODULE_MODE: "a submodule in"}
    return f"{change.path.decode()} is {kinds[seen.mode] if seen else 'not in'} the base, so its mode cannot change"


def seen_version(changeset: Changeset, change: Proposal, seen: Version | None, head: Version | None) -> Version | None:
    """Return the version that the writer of a change saw: `seen`, from the tree of the base, or what the change says.

    With a base by versions only the id was seen. Its mode is known where that id stands at the path in the head, and
    UNKNOWN_MODE elsewhere; threeway.merge_base says how that is merged.
    """
    if not changeset.base_versions:
        return seen
    if change.base is None:
        return None
    if change.base_mode is not None:
        return Version(change.base_mode, change.base)
    known = head is not None and head.oid == change.base
    return Version(head.mode if head and known else UNKNOWN_MODE, change.base)


def base_to_merge(change: Proposal, seen: Version | None, head: Version | None) -> Version | None:
    """Return the base on which a change is merged: `seen`, with a mode where that is unknown.

    A change of mode is of a regular file, so it was none of the head's symlink or submodule that was seen.
    """
    is_file = head is None or head.mode in REGULAR_MODES
    if change.op == "mode" and not is_file and seen is not None and seen.mode == UNKNOWN_MODE:
        return Version(FILE_MODE if change.mode == EXECUTABLE_MODE else EXECUTABLE_MODE, seen.oid)
    return merge_base(seen, head)


def _merge(
    change: Proposal, base: Version | None, ours: Version | None, theirs: Version | None, merge_contents: MergeContents
) -> Version | ConflictClass | None:
    """Return what stands at the path afterwards, by the change's strategy where both sides moved it."""
    if theirs in (base, ours) or ours == base or change.strategy == Strategy.MERGE:
        return merge_path(base, ours, theirs, merge_contents)
    if change.strategy == Strategy.OURS:
        return ours
    if change.strategy == Strategy.THEIRS and change.op != "mode":
        return theirs
    if change.strategy == Strategy.THEIRS and ours is not None and ours.mode in REGULAR_MODES:
        # A change of mode brings no content: the head's stays, whatever its writer saw.
        return Version(change.mode, ours.oid)
    # Exact, or no file whose mode could be taken: what collides is what the sides did, whatever the lines are.
    collision = merge_path(base, ours, theirs, lambda base, head, submitted: ConflictClass.CONTENT)
    return collision if isinstance(collision, ConflictClass) else ConflictClass.CONTENT
