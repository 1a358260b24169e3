"""A small push, in memory beside the slice's clone store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain

from app.gateway.receive.received import ContentTooLarge, NotComplete, Received, StoreGone, identity_of
from app.gateway.receive.small.complete import check_complete
from app.gateway.receive.small.pack import MOST_BYTES, Stored, Unusual, read_pack
from app.gateway.receive.small.store_objects import StoreObjects
from storage.base.ids import ObjectId
from storage.git.objects import Kind, Tree

ByGit = Callable[[], Received]
"""Has Git receive a push that is in memory; whoever calls it removes what it returns."""


class InMemory(Received):
    """A small push: nothing of it is on any disk, and no process was started for it, unless renames are guessed."""

    def __init__(self, objects: dict[ObjectId, Stored], store: StoreObjects, by_git: ByGit) -> None:
        """Begin with objects that are complete beside those of the store; `by_git` has Git receive them."""
        super().__init__()
        self._by_git = by_git
        self._given: Received | None = None
        self._objects = objects
        self._store = store

    def finish(self, tips: Iterable[ObjectId]) -> None:
        """There is nothing to wait for: it was complete when it was read."""

    def check(self) -> None:
        """It was complete when it was read."""

    def check_store(self) -> None:
        """Raise StoreGone where the store is another one by now."""
        if self._store.identity is None or identity_of(self._store.path) != self._store.identity:
            raise StoreGone

    def merge_base(self, tip: ObjectId) -> ObjectId | None:
        """Raise NotComplete: no commit of a small push has several parents."""
        raise NotComplete(f"{tip.hex()} has several parents")

    def _find_renamed(self, old: ObjectId, new: ObjectId) -> dict[bytes, bytes]:
        if self._given is None:
            self._given = self._by_git()  # once, for all commits of the push
        return self._given.renamed(old, new)

    def remove(self) -> None:
        """Forget it, and what Git was given of it."""
        self._objects = {}
        if self._given:
            self._given.remove()

    def tree(self, oid: ObjectId) -> Tree:
        """Return a tree. Raises NotComplete, and StoreGone."""
        if oid not in self._objects and (tree := self._store.tree(oid)):
            return tree
        return super().tree(oid)

    def _read(self, oid: ObjectId, kind: Kind, most: int) -> bytes:
        made = self._objects.get(oid)
        if made is None:
            header = self._store.header(oid)
            if header and header[1] > most:
                raise ContentTooLarge(f"{header[1]} bytes; at most {most} are allowed")
            made = self._store.read(oid, most)
        if made is None:
            raise StoreGone  # it was there when the push was found complete
        if made.kind != kind:
            raise NotComplete(f"{oid.hex()} is a {made.kind.name.lower()}, and no {kind.name.lower()}")
        if len(made.data) > most:
            raise ContentTooLarge(f"{len(made.data)} bytes; at most {most} are allowed")
        return made.data


def read_small(
    pieces: Iterator[bytes],
    tip: ObjectId,
    store: StoreObjects,
    by_git: Callable[[bytes], Received],
    most: int = MOST_BYTES,
) -> InMemory | Iterator[bytes]:
    """Return a push that is small and ordinary, read to its end; of any other the pieces, for Git to read.

    It is not small where its pack has more than `most` bytes. `by_git` has Git receive a pack.
    """
    held, size = [], 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size > min(most, MOST_BYTES):
            return chain(held, pieces)
    try:
        pack = b"".join(held)
        objects = read_pack(pack, store.read)
        check_complete(objects, tip, store)
    except Unusual:
        return iter(held)
    return InMemory(objects, store, partial(by_git, pack))
