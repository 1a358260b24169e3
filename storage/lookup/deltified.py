"""The contents of stored objects, deltas among them: each names its base, which is looked up like any object.

The bases of many are read together, a round of reads for each step of the longest chain. An import makes chains of a
few deltas (storage/importing/packing.py), and stores what its tip has whole.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from cachetools import LRUCache

from storage.backends.turns import LARGE, in_thread, in_thread_if_large
from storage.base.ids import ObjectId
from storage.git.imported.deltas import MAX_CHAIN, base_of, is_delta, patched, read_delta
from storage.git.objects import CorruptObject, Kind
from storage.git.packs import decode

Content = tuple[Kind, bytes]

# Of the objects on which others are based, so many bytes are kept while these are made.
_KEPT_BYTES = 32 << 20


def contents(
    stored: Mapping[ObjectId, bytes],
    fetch: Callable[[Sequence[ObjectId]], Mapping[ObjectId, bytes]],
    known: Callable[[ObjectId], Content | None],
) -> Iterator[tuple[ObjectId, Content]]:
    """Yield the kind and bytes of stored objects. They are not compared with their ids.

    `fetch` returns how objects are stored, several read together, and `known` one that needs no reading. Raises
    CorruptObject, and what `fetch` raises.
    """
    deltas = [data for data in stored.values() if is_delta(data)]
    chains = _Chains(stored, fetch, known, deltas) if deltas else None
    for oid, data in stored.items():
        yield oid, chains.content(oid) if chains and is_delta(data) else in_thread_if_large(decode, data)


class _Chains:
    """Everything on which some deltas are based."""

    def __init__(
        self,
        stored: Mapping[ObjectId, bytes],
        fetch: Callable[[Sequence[ObjectId]], Mapping[ObjectId, bytes]],
        known: Callable[[ObjectId], Content | None],
        deltas: Sequence[bytes],
    ) -> None:
        self._stored = dict(stored)
        self._known: dict[ObjectId, Content] = {}
        self._made: LRUCache[ObjectId, Content] = LRUCache(_KEPT_BYTES, getsizeof=lambda item: len(item[1]))
        for _ in range(MAX_CHAIN):
            bases = dict.fromkeys(base_of(data) for data in deltas)
            wanted = []
            for base in bases:
                if base in self._stored or base in self._known:
                    continue
                if (item := known(base)) is not None:
                    self._known[base] = item
                else:
                    wanted.append(base)
            if not wanted:
                return
            fetched = fetch(wanted)
            self._stored |= fetched
            deltas = [data for data in fetched.values() if is_delta(data)]
        raise CorruptObject("an object is based on too many deltas")

    def content(self, oid: ObjectId) -> Content:
        """Return the kind and bytes of one of the deltas."""
        path: list[ObjectId] = []
        at = oid
        while (item := self._known.get(at) or self._made.get(at)) is None and is_delta(self._stored[at]):
            path.append(at)
            if len(path) > MAX_CHAIN:
                raise CorruptObject(f"{oid.hex()} is based on too many deltas")
            at = base_of(self._stored[at])
        kind, data = item or in_thread_if_large(decode, self._stored[at])
        for each in reversed(path):
            self._keep(at, (kind, data))
            instructions = read_delta(self._stored[each]).instructions
            data = in_thread(patched, data, instructions) if len(data) > LARGE else patched(data, instructions)
            at = each
        return kind, data

    def _keep(self, oid: ObjectId, item: Content) -> None:
        if len(item[1]) < self._made.maxsize:
            self._made[oid] = item
