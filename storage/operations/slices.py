"""Defining, changing and deleting slices: entries like any other, appended before anyone is answered.

Changesets are decided by the definition at their snapshot, so none of this waits for what is queued.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from storage.base.errors import Refused
from storage.base.ids import SliceId, new_ulid
from storage.commit.append_loop import Moved, Say, append_directly, of_one_view
from storage.log.entry import EntryKind, Json
from storage.repository import Repository
from storage.view.snapshot import Slice, Snapshot
from storage.view.view import slice_of


class SliceExists(Refused):
    """Another slice has this name, or one that collides with it as a ref."""

    def __init__(self, name: str, other: Slice) -> None:
        super().__init__(f"{name} collides with the slice {other.name}")
        self.other = other


class SliceGone(Refused):
    """There is no slice with this id or name; the text is that."""


class SliceChanged(Refused):
    """The slice has another version than the writer of the change saw."""

    def __init__(self, found: Slice) -> None:
        super().__init__(f"slice {found.name} has version {found.version}")
        self.found = found


def _append(repo: Repository, say: Say, slices: Sequence[str] = ()) -> None:
    """Append what `say` says; a refusal, or nothing to say, counts only under Queue.consistent_read.

    Redis restored from an older snapshot may have the slice as it was before a change that was already reported. Raises
    what `say` raises, Recovering, LogBusy, ViewAbsent, ViewStale and BucketError.
    """
    with suppress(Refused):
        if append_directly(repo, say, slices=slices):
            return
    with repo.queue.consistent_read():
        append_directly(repo, say, slices=slices)


def define(repo: Repository, name: str, paths: list[str]) -> Slice:
    """Make a slice and return it once it is durable.

    Whether the name is free is asked on each snapshot anew. Raises SliceExists and Unavailable.
    """
    definition = {"id": new_ulid(), "name": name, "paths": paths, "version": 1}

    def change(snapshot: Snapshot) -> tuple[EntryKind, Json] | None:
        other = repo.view.colliding_slice(name)
        found = repo.view.slice(other) if other else None
        of_one_view(repo, snapshot)
        if other is None:
            return EntryKind.SLICES, {"define": [definition]}
        if found is None:
            raise Moved
        raise SliceExists(name, found)

    _append(repo, change)
    return slice_of(definition)


def change_paths(repo: Repository, slice_id: str, paths: list[str], version: int | None = None) -> Slice:
    """Give a slice other paths and return it once that is durable; repeated, it changes nothing.

    With `version` only if the slice still has it. Raises SliceGone, SliceChanged and Unavailable.
    """
    made: list[Slice] = []

    def change(snapshot: Snapshot) -> tuple[EntryKind, Json] | None:
        old = _definition(snapshot, slice_id)
        new = {**old, "paths": paths, "version": old["version"] + 1}
        if sorted(old["paths"]) == sorted(paths) and version in (None, old["version"], old["version"] - 1):
            made[:] = [slice_of(old)]
            return None
        if version not in (None, old["version"]):
            raise SliceChanged(slice_of(old))
        made[:] = [slice_of(new)]
        return EntryKind.SLICES, {"undefine": [old], "define": [new]}

    _append(repo, change, [slice_id])
    return made[0]


def delete(repo: Repository, slice_id: str, version: int | None = None) -> None:
    """Delete a slice; what is queued in it will be rejected, and says so.

    With `version` only if the slice still has it. Raises SliceGone, SliceChanged and Unavailable.
    """

    def change(snapshot: Snapshot) -> tuple[EntryKind, Json] | None:
        old = _definition(snapshot, slice_id)
        if version not in (None, old["version"]):
            raise SliceChanged(slice_of(old))
        return EntryKind.SLICES, {"undefine": [old], "define": []}

    _append(repo, change, [slice_id])


def _definition(snapshot: Snapshot, slice_id: str) -> Json:
    found = snapshot.slices.get(SliceId(slice_id))
    if found is None:
        raise SliceGone(slice_id)
    paths = sorted(path.decode() for path in found.paths)
    return {"id": found.id, "name": found.name, "paths": paths, "version": found.version}
