"""Merging one path three ways, by the rules of Git's default merge (`ort`) without renames. Pure.

The rules are those of Git's merge-ort.c, functions process_entry and handle_content_merge; merging texts is left to the
caller. tests/compat/test_merge_oracle.py compares the results with `git merge-tree`.
"""

from collections.abc import Callable
from enum import StrEnum
from stat import S_IFMT

from storage.base.errors import Unavailable
from storage.base.ids import ObjectId
from storage.git.objects import REGULAR_MODES, UNKNOWN_MODE, Version

# As in Git's buffer_is_binary.
_BINARY_PROBE = 8000


class ConflictClass(StrEnum):
    """What collides at a path."""

    CONTENT = "content"  # both sides changed the same lines, or the target of a symlink or submodule
    DELETE_MODIFY = "delete/modify"
    ADD_ADD = "add/add"
    DIRECTORY_FILE = "directory/file"
    MODE = "mode"  # both sides changed the mode, or made different kinds of file
    BINARY = "binary"
    TOO_LARGE = "too-large"  # above max_merge_bytes nothing is merged
    MOVED = "moved"  # the file is elsewhere by now: where the change may not be made, or others moved it somewhere else


class MergeUnavailable(Unavailable):
    """Contents cannot be merged at the moment; the result of their merge is unknown."""


class MergesTooLong(MergeUnavailable):
    """The merges of a batch have taken all the time that they may take together."""


class Strategy(StrEnum):
    """What a writer wants at a path that moved since the base."""

    MERGE = "merge"  # what Git does
    OURS = "ours"  # keep what stands in the head, and drop the change
    THEIRS = "theirs"  # take what was submitted, over what stands in the head
    EXACT = "exact"  # a conflict, even where Git could merge


MergeContents = Callable[[ObjectId | None, ObjectId, ObjectId], ObjectId | ConflictClass]
"""Merges the blobs of base (None: an empty one), head and submission; returns the merged blob, or why there is none."""


def is_binary(content: bytes) -> bool:
    """Tell whether Git takes a content for binary, which it never merges."""
    return b"\0" in content[:_BINARY_PROBE]


def merge_base(base: Version | None, head: Version | None) -> Version | None:
    """Return the base on which two versions are merged, with the head's mode in place of an unknown one.

    So the submitted mode is taken, and a change of mode in the head is not noticed. If the head has no file, the mode
    stays unknown, which differs from the submitted mode and from every other: both sides changed the path.
    """
    if base is None or head is None or base.mode != UNKNOWN_MODE:
        return base
    return Version(head.mode, base.oid)


def merge_path(
    base: Version | None, head: Version | None, submitted: Version | None, merge_contents: MergeContents
) -> Version | ConflictClass | None:
    """Return the version that a path has after the merge, or the class of its conflict.

    Asks `merge_contents` only where both sides have a regular file and the three contents differ.
    """
    base = merge_base(base, head)
    if submitted in (base, head):
        return head
    if head == base:
        return submitted
    if head is None or submitted is None:
        return ConflictClass.DELETE_MODIFY
    collision = ConflictClass.CONTENT if base else ConflictClass.ADD_ADD
    if S_IFMT(head.mode) != S_IFMT(submitted.mode):
        return ConflictClass.MODE if base else collision
    mode = merge_modes(base, head, submitted)
    oid = _merge_ids(base, head, submitted, merge_contents)
    if isinstance(oid, ConflictClass):
        return collision if oid == ConflictClass.CONTENT else oid
    if mode is None:
        return ConflictClass.MODE if base else collision
    return Version(mode, oid)


def contents_to_merge(
    base: Version | None, head: Version | None, submitted: Version | None
) -> tuple[ObjectId | None, ObjectId, ObjectId] | None:
    """Return the contents that have to be merged for a path, None if the ids alone decide."""
    asked: list[tuple[ObjectId | None, ObjectId, ObjectId]] = []

    def ask(*three: *tuple[ObjectId | None, ObjectId, ObjectId]) -> ConflictClass:
        asked.append(three)
        return ConflictClass.CONTENT

    merge_path(base, head, submitted, ask)
    return asked[0] if asked else None


def merge_modes(base: Version | None, head: Version, submitted: Version) -> int | None:
    """Return the mode of the side that moved it, None where both did, each to another."""
    base = merge_base(base, head)
    if head.mode == submitted.mode or (base and head.mode == base.mode):
        return submitted.mode
    return head.mode if base and submitted.mode == base.mode else None


def _merge_ids(
    base: Version | None, head: Version, submitted: Version, merge_contents: MergeContents
) -> ObjectId | ConflictClass:
    if head.oid == submitted.oid or (base and head.oid == base.oid):
        return submitted.oid
    if base and submitted.oid == base.oid:
        return head.oid
    if head.mode not in REGULAR_MODES:
        return ConflictClass.CONTENT
    # A base of another kind, such as a symlink, says nothing of the lines.
    same_kind = base is not None and S_IFMT(base.mode) == S_IFMT(head.mode)
    return merge_contents(base.oid if base and same_kind else None, head.oid, submitted.oid)
