"""Defining, changing and deleting slices by entries of the log, appended before the request is answered.

Changesets are decided by the definition at their snapshot, so these operations need not wait for queued changesets.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from storage.base.errors import Refused
from storage.base.ids import SliceId, new_ulid
from storage.commit import Draft, EntryBuilder, NoEntry, SnapshotStale, append_directly, check_snapshot_current
from storage.log.entry import Definition, Slices
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

    def __init__(self, current: Slice) -> None:
        super().__init__(f"slice {current.name} has version {current.version}")
        self.current = current


def _append(repo: Repository, build_entry: EntryBuilder[Slice], slices: Sequence[str] = ()) -> Slice:
    """Append what `build_entry` makes; that it refuses, or makes nothing, counts only under Queue.consistent_read.

    Redis restored from an older snapshot may have the slice as it was before a change that was already reported. Raises
    what `build_entry` raises, and Unavailable.
    """

    def unconfirmed(snapshot: Snapshot) -> Draft[Slice | None] | NoEntry[None]:
        try:
            draft = build_entry(snapshot)
        except Refused:
            return NoEntry(None)
        return draft if isinstance(draft, Draft) else NoEntry(None)

    changed = append_directly(repo, unconfirmed, slices=slices)
    if changed is not None:
        return changed
    with repo.queue.consistent_read():
        return append_directly(repo, build_entry, slices=slices)


def define(repo: Repository, name: str, paths: list[str]) -> Slice:
    """Make a slice if its name is free, and return it once it is durable. Raises SliceExists and Unavailable."""
    definition = Definition(id=SliceId(new_ulid()), name=name, paths=tuple(paths), version=1)

    def build_entry(snapshot: Snapshot) -> Draft[Slice]:
        other = repo.view.colliding_slice(name)
        slice_ = repo.view.slice(other) if other else None
        check_snapshot_current(repo, snapshot)
        if other is None:
            return Draft(Slices(define=(definition,)), slice_of(definition))
        if slice_ is None:
            raise SnapshotStale
        raise SliceExists(name, slice_)

    return _append(repo, build_entry)


def change_paths(repo: Repository, slice_id: str, paths: list[str], version: int | None = None) -> Slice:
    """Give a slice other paths and return it once that is durable; repeated, it changes nothing.

    With `version` only if the slice still has it. Raises SliceGone, SliceChanged and Unavailable.
    """

    def build_entry(snapshot: Snapshot) -> Draft[Slice] | NoEntry[Slice]:
        old = _definition(snapshot, slice_id)
        new = replace(old, paths=tuple(paths), version=old.version + 1)
        if sorted(old.paths) == sorted(paths) and version in (None, old.version, old.version - 1):
            return NoEntry(slice_of(old))
        if version not in (None, old.version):
            raise SliceChanged(slice_of(old))
        return Draft(Slices(undefine=(old,), define=(new,)), slice_of(new))

    return _append(repo, build_entry, [slice_id])


def delete(repo: Repository, slice_id: str, version: int | None = None) -> None:
    """Delete a slice, if it has `version`; what is queued in it is rejected. Raises Refused and Unavailable."""

    def build_entry(snapshot: Snapshot) -> Draft[Slice]:
        old = _definition(snapshot, slice_id)
        if version not in (None, old.version):
            raise SliceChanged(slice_of(old))
        return Draft(Slices(undefine=(old,), define=()), slice_of(old))

    _append(repo, build_entry, [slice_id])


def _definition(snapshot: Snapshot, slice_id: str) -> Definition:
    slice_ = snapshot.slices.get(SliceId(slice_id))
    if slice_ is None:
        raise SliceGone(slice_id)
    paths = tuple(sorted(path.decode() for path in slice_.paths))
    return Definition(id=slice_.id, name=slice_.name, paths=paths, version=slice_.version)
