"""Deciding one changeset: for each path the version that it will have, or a conflict. Pure, given a merge of contents.

The result is as if the changeset were a full-tree commit on its base, merged three ways without renames (invariant 6),
but for moves that are recorded. At each path `base` is the version in the base, `ours` the head's and `theirs` the
submitted one, which are merged by storage/git/threeway.py. A changeset is applied completely or not at all.

A file that moved since the base is changed where it is now; a file that the changeset moves takes along what others
changed in it. What moved where is told by a trail (storage/moves/trail.py).
"""

from collections.abc import Callable, Mapping
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
from storage.moves.trail import NO_TRAIL, Trail

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
    moved: bytes | None = None  # where the head has the file, if that is another path


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


class Placed(Taken):
    """What the head takes of a changeset."""

    def __init__(self) -> None:
        super().__init__()
        self.moves: list[tuple[bytes, bytes, ObjectId]] = []
        """The files that leave a path for another one, with the id of what stood there."""
        self.followed: dict[bytes, bytes] = {}
        """The changes that are made at another path than their own, since the file is there now."""


def decide(
    changeset: Changeset,
    seen: TreeEditor,
    head: TreeEditor,
    merge_file: MergeFile,
    blind: bool = False,
    trail: Trail = NO_TRAIL,
) -> Placed | list[Conflict] | Rejection:
    """Decide `changeset` against the tree in `head`; `seen` is what its writer saw.

    `blind`: its stack stands on a base by versions, so that what is not in `seen` may have been there all the same.
    Edits neither. Reads the directories on the changed paths, and contents only where both sides changed them.
    """
    return _Deciding(changeset, seen, head, merge_file, blind, trail).run()


@dataclass(frozen=True, slots=True)
class _Sides:
    """The three versions of a file that are merged, and where the head has it."""

    at: bytes
    base: Version | None  # as it was seen
    ours: Version | None
    theirs: Version | None
    merged_on: Version | None  # the base, with a mode where that was unknown


class _Deciding:
    """One changeset that is decided."""

    def __init__(
        self,
        changeset: Changeset,
        seen: TreeEditor,
        head: TreeEditor,
        merge_file: MergeFile,
        blind: bool,
        trail: Trail,
    ) -> None:
        self._changeset = changeset
        self._seen = seen
        self._head = head
        self._merge_file = merge_file
        self._blind = blind
        self._trail = trail
        self._own = {change.path: change for change in changeset.changes}
        self._deletes = {change.path for change in changeset.changes if change.op == "delete"}
        self._sources = {change.source for change in changeset.changes if change.source is not None}
        self._placed = Placed()
        self._conflicts: list[Conflict] = []
        self._stands: set[bytes] = set()  # paths at which the head has a file, so that none is in the way of another
        self._before: dict[bytes, Version | None] = {}

    def run(self) -> Placed | list[Conflict] | Rejection:
        """Return what the head takes, or what collides."""
        for change in self._changeset.changes:
            if change.op == "delete" and change.path in self._sources:
                continue  # a part of a move
            rejection = self._move(change, change.source) if change.source is not None else self._edit(change)
            if rejection:
                return rejection
        placed = self._placed
        leaving = {path for path, version in placed.items() if version is None}
        for path, version in placed.items():
            if version is None or path in self._stands:
                continue
            blocker = self._head.file_in_the_way(path, leaving)
            if blocker is not None:
                there = self._head.get(blocker)
                self._conflicts.append(
                    Conflict(path, ConflictClass.DIRECTORY_FILE, self._before[path], there, version, blocker)
                )
        return self._conflicts or placed

    def _edit(self, change: Proposal) -> Rejection | None:
        """Decide a put, a delete or a change of mode."""
        ours, there = as_file(self._head.get(change.path)), as_file(self._seen.get(change.path))
        base = seen_version(self._changeset, change, there, ours)
        no_mode = why_no_mode(change, base)
        if no_mode:
            return Rejection("missing-file", no_mode)
        if self._blind and change.op == "delete" and base is None and ours is not None:
            detail = f"{as_text(change.path)} is in none of the changesets that it stacks on, whose base names versions"
            return Rejection("missing-file", detail)
        theirs = change.version(base)
        # Where a file was seen, none was in its way.
        blocker = self._seen.file_in_the_way(change.path, self._deletes) if theirs and there is None else None
        if blocker is not None:
            return _in_the_way(change.path, blocker, "put")
        self._before[change.path] = base
        at = self._where(change, base, ours, theirs)
        if at is None:
            sides = _Sides(change.path, base, ours, theirs, base_to_merge(change, base, ours))
            version = _merge(change, sides.merged_on, ours, theirs, partial(self._merge_file, change.path))
            self._take(change, sides, version)
            return None
        self._follow(change, self._sides(change, at, base))
        return None

    def _where(
        self, change: Proposal, base: Version | None, ours: Version | None, theirs: Version | None
    ) -> bytes | None:
        """Return at which other path the file is that was seen, None where it stayed: most stay, at no cost."""
        if base is None or ours == base_to_merge(change, base, ours):
            return None
        if ours == theirs and theirs is not None:
            return None  # both did the same
        at = self._trail.where(change.seen_at, base)
        # A path that the changeset names itself its writer knows of.
        return None if at in self._own and at != change.path else at

    def _sides(self, change: Proposal, at: bytes, base: Version | None) -> _Sides:
        """Return the versions of a file that is at another path in the head."""
        ours = as_file(self._head.get(at))
        if base is not None and base.mode == UNKNOWN_MODE and ours is not None and ours.oid == base.oid:
            base = ours
        merged_on = base_to_merge(change, base, ours)
        return _Sides(at, base, ours, change.version(merged_on), merged_on)

    def _follow(self, change: Proposal, sides: _Sides) -> None:
        """Make a change where the file is now."""
        self._before[sides.at] = sides.base
        if change.strategy == Strategy.OURS:
            return
        twice = sides.at in self._placed
        if twice or change.strategy == Strategy.EXACT or not self._trail.may_change(sides.at):
            self._collide(change, sides, ConflictClass.MOVED)
            return
        version = _merge(change, sides.merged_on, sides.ours, sides.theirs, partial(self._merge_file, sides.at))
        self._take(change, sides, version)
        if not isinstance(version, ConflictClass):
            self._placed.followed[change.path] = sides.at

    def _take(self, change: Proposal, sides: _Sides, version: Version | ConflictClass | None) -> None:
        if isinstance(version, ConflictClass):
            self._collide(change, sides, version)
        elif version != sides.ours:
            self._placed[sides.at] = version
            if sides.ours is not None:
                self._stands.add(sides.at)

    def _collide(self, change: Proposal, sides: _Sides, kind: ConflictClass) -> None:
        moved = sides.at if sides.at != change.path else None
        self._conflicts.append(Conflict(change.path, kind, sides.base, sides.ours, sides.theirs, moved=moved))

    def _move(self, change: Proposal, source: bytes) -> Rejection | None:
        """Decide a move, together with the delete of what it leaves."""
        ours = as_file(self._head.get(source))
        base = seen_version(self._changeset, self._own[source], as_file(self._seen.get(source)), ours)
        if base is None:
            return Rejection("missing-file", f"{as_text(source)} is not in the base, so it cannot move")
        if as_file(self._seen.get(change.path)) is not None:
            return _in_the_way(change.path, change.path, "moved")
        blocker = self._seen.file_in_the_way(change.path, self._deletes)
        if blocker is not None:
            return _in_the_way(change.path, blocker, "moved")
        sides = self._sides(change, source, base)
        no_file = _why_no_file(change, sides.merged_on)
        if no_file:
            return Rejection("missing-file", no_file)
        self._before |= {change.path: None, source: base}
        at = self._where(change, base, ours, None)
        if at is not None and at != source:
            sides = self._sides(change, at, base)
        self._place(change, sides, source)
        return None

    def _place(self, change: Proposal, sides: _Sides, source: bytes) -> None:
        """Move a file from where the head has it, with what others changed in it."""
        at, ours, theirs, path = sides.at, sides.ours, sides.theirs, change.path
        there = as_file(self._head.get(path))
        if ours is None and there == theirs:
            return  # others did the same, and did not say that it was a move
        changed = ours != sides.merged_on or at not in (source, path) or (at != path and there not in (None, theirs))
        if changed and change.strategy == Strategy.OURS:
            return
        version = _merge_moved(change, sides, partial(self._merge_file, path))
        if at == path:
            # Others moved it to the same place.
            self._take(change, sides, version)
        elif isinstance(version, ConflictClass):
            self._collide(change, sides, version)
        elif at != source and (change.strategy != Strategy.THEIRS or not self._trail.may_change(at)):
            self._collide(change, sides, ConflictClass.MOVED)
        elif there is not None and there != version and change.strategy != Strategy.THEIRS:
            self._conflicts.append(Conflict(path, ConflictClass.ADD_ADD, None, there, version))
        else:
            if ours is not None:
                self._placed[at] = None
            if there != version:
                self._placed[path] = version
                if ours is not None and there is None:
                    self._placed.moves.append((at, path, ours.oid))


def _why_no_file(change: Proposal, seen: Version | None) -> str | None:
    """Return why a move cannot change a file by the way: what moves is none, and mode or content alone make it none."""
    if (change.mode == 0) == (change.oid is None) or seen is None or seen.mode in (*REGULAR_MODES, UNKNOWN_MODE):
        return None
    return f"{as_text(change.seen_at)} is no regular file in the base, so it moves as it is, or with mode and content"


def _in_the_way(path: bytes, blocker: bytes, done: str) -> Rejection:
    detail = f"{as_text(path)} cannot be {done} where its base has {as_text(blocker)}, which it does not delete"
    return Rejection("in-the-way", detail)


def _merge_moved(change: Proposal, sides: _Sides, merge_contents: MergeContents) -> Version | ConflictClass | None:
    """Return what a file that moves is afterwards; a move without a content brings none."""
    ours, theirs = sides.ours, sides.theirs
    if ours is None:
        return theirs if change.strategy == Strategy.THEIRS else ConflictClass.DELETE_MODIFY
    if ours != sides.merged_on and change.strategy == Strategy.EXACT:
        return ConflictClass.CONTENT
    if ours != sides.merged_on and change.strategy == Strategy.THEIRS and ours.mode in REGULAR_MODES:
        return Version(change.mode or ours.mode, change.oid or ours.oid)
    return merge_path(sides.merged_on, ours, theirs, merge_contents)


def says_moves(changeset: Changeset, decision: Placed | list[Conflict]) -> bool:
    """Tell whether the record of a decision says something of moves."""
    if isinstance(decision, list):
        return any(conflict.moved is not None for conflict in decision)
    return bool(decision.followed) or any(change.source is not None for change in changeset.changes)


def why_no_mode(change: Proposal, seen: Version | None) -> str | None:
    """Return why a change of mode alone cannot be made of what its writer saw, which has to be a regular file.

    To Git, the mode of a symlink or submodule is its kind: with another one it would be a file of another content.
    """
    if change.op != "mode" or (seen is not None and seen.mode in (*REGULAR_MODES, UNKNOWN_MODE)):
        return None
    kinds = {SYMLINK_MODE: "a symlink in", SUBMODULE_MODE: "a submodule in"}
    return f"{as_text(change.path)} is {kinds[seen.mode] if seen else 'not in'} the base, so its mode cannot change"


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


def base_said(change: Proposal, changes: Mapping[bytes, Proposal]) -> Version | None:
    """Return what a change itself says that its writer saw, given the changes of its changeset by path.

    A mode that nobody knows is that of a regular file: it counts as seen, and as changed where the head has another.
    """
    if change.source is not None:
        leave = changes[change.source]
        return Version(change.mode or leave.base_mode or FILE_MODE, leave.base) if leave.base else None
    return Version(change.mode, change.base) if change.base else None


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
