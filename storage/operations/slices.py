"""Defining, changing and deleting slices by entries of the log, appended before the request is answered.

Changesets are decided by the definition at their snapshot, so these operations need not wait for queued changesets.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from msgspec.structs import replace

from storage.base.errors import Refused
from storage.base.ids import SliceId, new_ulid
from storage.commit import Draft, EntryBuilder, NoEntry, SnapshotStale, append_directly, check_snapshot_current
from storage.log.entry import Definition, Slices
from storage.log.records import Actor
from storage.operations.requests import recorded_as
from storage.repository import Repository
from storage.view.snapshot import Slice, Snapshot
from storage.view.view import prefixes, slice_of

T = TypeVar("T")


class SliceExists(Refused):
    """Another slice has this name, or one that collides with it as a ref."""

    def __init__(self, name: str, other: Slice) -> None:
        super().__init__(f"{name} collides with the slice {other.name}")
        self.other = other


@dataclass(frozen=True, slots=True)
class Defined:
    """A slice that was asked for."""

    slice: Slice
    is_new: bool  # whether it was made now, and not before with the same paths


Outcome = Defined | SliceExists


class SliceGone(Refused):
    """There is no slice with this id or name; the text is that."""


class SliceChanged(Refused):
    """The slice has another version than the writer of the change saw."""

    def __init__(self, current: Slice) -> None:
        super().__init__(f"slice {current.name} has version {current.version}")
        self.current = current


def _append(
    repo: Repository,
    build_entry: EntryBuilder[T],
    slices: Sequence[str] = (),
    is_sure: Callable[[T], bool] = lambda _: True,
) -> T:
    """Append what `build_entry` makes and return its result.

    That it refuses, makes nothing, or returns what is not sure by itself, counts only under Queue.consistent_read.

    Redis restored from an older snapshot may have the slice as it was before a change that was already reported. Raises
    what `build_entry` raises, and Unavailable.
    """

    def unconfirmed(snapshot: Snapshot) -> Draft[T | None] | NoEntry[None]:
        try:
            draft = build_entry(snapshot)
        except Refused:
            return NoEntry(None)
        return draft if isinstance(draft, Draft) and is_sure(draft.result) else NoEntry(None)

    changed = append_directly(repo, unconfirmed, slices=slices)
    if changed is not None:
        return changed
    with repo.queue.consistent_read():
        return append_directly(repo, build_entry, slices=slices)


def define(repo: Repository, name: str, paths: list[str], actor: Actor | None = None) -> Slice:
    """Make a slice if its name is free, and return it once it is durable. Raises SliceExists and Unavailable."""
    [outcome] = define_many(repo, [(name, paths)], actor)
    if isinstance(outcome, SliceExists):
        raise outcome
    if not outcome.is_new:
        raise SliceExists(name, outcome.slice)
    return outcome.slice


def define_many(
    repo: Repository, wanted: Sequence[tuple[str, Sequence[str]]], actor: Actor | None = None
) -> list[Outcome]:
    """Make slices, given by name and paths, by one entry; return what has become of each once that is durable.

    Repeated, it makes no other ones: a slice that exists with just these paths is returned as it is. Raises
    Unavailable.
    """
    definitions = [
        Definition(id=SliceId(new_ulid()), name=name, paths=tuple(paths), version=1) for name, paths in wanted
    ]
    by = recorded_as(repo, actor)

    def build_entry(snapshot: Snapshot) -> Draft[list[Outcome]] | NoEntry[list[Outcome]]:
        colliding = repo.view.colliding_slices([definition.name for definition in definitions])
        others = {slice_.name: slice_ for slice_ in repo.view.slices_named(list(colliding.values()))}
        check_snapshot_current(repo, snapshot)
        if not others.keys() >= set(colliding.values()):
            raise SnapshotStale
        outcomes = list(_outcomes(definitions, {name: others[other] for name, other in colliding.items()}))
        new = [definition for definition, outcome in zip(definitions, outcomes, strict=True) if _is_new(outcome)]
        entry = Slices(define=tuple(new), actor=by.actor, time=by.time)
        return Draft(entry, outcomes) if new else NoEntry(outcomes)

    return _append(repo, build_entry, is_sure=lambda outcomes: all(map(_is_new, outcomes)))


def _is_new(outcome: Outcome) -> bool:
    return isinstance(outcome, Defined) and outcome.is_new


def _outcomes(definitions: Sequence[Definition], known: Mapping[str, Slice]) -> Iterator[Outcome]:
    """Yield what becomes of definitions; `known` are the slices with which they collide, by their names."""
    new: dict[str, Slice] = {}
    above: dict[str, Slice] = {}  # names that stand above those of new slices
    for definition in definitions:
        name, slice_ = definition.name, slice_of(definition)
        names = prefixes(name)
        other = known.get(name) or above.get(name) or next((new[prefix] for prefix in names if prefix in new), None)
        if other is None:
            new[name] = slice_
            above.update(dict.fromkeys(names[:-1], slice_))
            yield Defined(slice_, is_new=True)
        elif (other.name, other.paths) == (name, slice_.paths):
            yield Defined(other, is_new=False)
        else:
            yield SliceExists(name, other)


def change_paths(
    repo: Repository, slice_id: str, paths: list[str], version: int | None = None, actor: Actor | None = None
) -> Slice:
    """Give a slice other paths and return it once that is durable; repeated, it changes nothing.

    With `version` only if the slice still has it. Raises SliceGone, SliceChanged and Unavailable.
    """
    by = recorded_as(repo, actor)

    def build_entry(snapshot: Snapshot) -> Draft[Slice] | NoEntry[Slice]:
        old = _definition(snapshot, slice_id)
        new = replace(old, paths=tuple(paths), version=old.version + 1)
        if sorted(old.paths) == sorted(paths) and version in (None, old.version, old.version - 1):
            return NoEntry(slice_of(old))
        if version not in (None, old.version):
            raise SliceChanged(slice_of(old))
        return Draft(Slices(undefine=(old,), define=(new,), actor=by.actor, time=by.time), slice_of(new))

    return _append(repo, build_entry, [slice_id])


def delete(repo: Repository, slice_id: str, version: int | None = None, actor: Actor | None = None) -> None:
    """Delete a slice, if it has `version`; what is queued in it is rejected. Raises Refused and Unavailable."""
    by = recorded_as(repo, actor)

    def build_entry(snapshot: Snapshot) -> Draft[Slice]:
        old = _definition(snapshot, slice_id)
        if version not in (None, old.version):
            raise SliceChanged(slice_of(old))
        return Draft(Slices(undefine=(old,), define=(), actor=by.actor, time=by.time), slice_of(old))

    _append(repo, build_entry, [slice_id])


def _definition(snapshot: Snapshot, slice_id: str) -> Definition:
    slice_ = snapshot.slices.get(SliceId(slice_id))
    if slice_ is None:
        raise SliceGone(slice_id)
    paths = tuple(sorted(path.decode() for path in slice_.paths))
    return Definition(id=slice_.id, name=slice_.name, paths=paths, version=slice_.version)
