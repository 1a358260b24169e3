"""Defining slices: an entry like any other, appended before anyone is told."""

from __future__ import annotations

from storage.append import append, entry_after
from storage.entries import EntryKind
from storage.ids import new_ulid
from storage.link import Slice
from storage.repository import Repository
from storage.view import slice_of

MOST_RACES = 50


class SliceExists(Exception):
    """Another slice has this name, or one that collides with it as a ref."""

    def __init__(self, name: str, other: Slice) -> None:
        super().__init__(f"{name} collides with the slice {other.name}")
        self.other = other


class LogBusy(Exception):
    """The log's next place was lost to other writers too often. Try again."""


def define(repo: Repository, name: str, paths: list[str]) -> Slice:
    """Make a slice and return it once it is durable.

    Whether the name is free is asked on each snapshot anew. Raises SliceExists, LogBusy, ViewAbsent and BucketError.
    """
    owner = new_ulid()
    definition = {"id": new_ulid(), "name": name, "paths": paths, "version": 1}
    for _ in range(MOST_RACES):
        repo.ticket.take(owner, patience=repo.settings.lock_ttl)
        try:
            snapshot = repo.view.snapshot()
            other = repo.view.colliding_slice(name)
            if other is not None:
                found = repo.view.slice(other)
                if found is not None:
                    raise SliceExists(name, found)
                continue
            entry = entry_after(snapshot.head, EntryKind.SLICES, define=[definition])
            if append(repo.view, repo.log, repo.bucket, snapshot, entry, {}):
                return slice_of(definition)
        finally:
            repo.ticket.give_back(owner)
    raise LogBusy(f"slice {name} lost the race for a place in the log {MOST_RACES} times")
