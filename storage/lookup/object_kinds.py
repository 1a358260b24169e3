"""The kind and size of stored objects, found without reading them.

An id in a request may be that of any object, of any size. The index has only blobs of submission packs, with their
sizes; for objects in other packs, the first bytes tell kind and size. Neither changes, and an object that the log
references is never deleted, so the results can be cached.
"""

import threading
from collections.abc import Iterable
from operator import itemgetter
from typing import NamedTuple

from cachetools import LRUCache

from storage.base.batched import batched
from storage.base.errors import Unavailable
from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.git.imported import deltas
from storage.git.objects import CorruptObject, Kind
from storage.git.packs import HEAD_BYTES, Location, decode_head
from storage.lookup.object_store import ObjectMissing, ObjectStore

MAX_LOOKUPS = 4000
"""Objects that one call looks up in the bucket at most."""

# Beside what one request can name: else a request that is repeated until all its ids are known never ended.
_REMEMBERED = 1 << 16
_TOGETHER = 5000  # ids in one look into the index, which Redis does in one go
# Objects whose first bytes are read at once: first few, so that something is known when the time is up, then more.
_HEADS_FIRST, _HEADS_MOST = 64, 512


class LookedUpInPart(Unavailable):
    """Too many objects were new to look up all of them; the results are cached, so the next call continues."""


class Described(NamedTuple):
    """What an object is."""

    kind: Kind
    size: int  # bytes of its content


class Kinds:
    """The kinds of all objects that the log names. Safe for threads."""

    def __init__(self, settings: Settings, objects: ObjectStore) -> None:
        self._objects = objects
        self._known: LRUCache[ObjectId, Described] = LRUCache(_REMEMBERED + settings.max_request_changes)
        self._lock = threading.Lock()

    def of(self, oids: Iterable[ObjectId], chain: int = 0) -> dict[ObjectId, Described]:
        """Return what these objects are, without those that are not stored; `chain` deltas stand on them already.

        Costs few looks into the index, and the first bytes of those that stand in no submission pack, read together.
        Raises ViewAbsent, BucketError, Spent and CorruptObject; and LookedUpInPart after `MAX_LOOKUPS` in the bucket.
        What was looked up until then is remembered.
        """
        wanted = list(dict.fromkeys(oids))
        with self._lock:
            described = {oid: self._known[oid] for oid in wanted if oid in self._known}
        rest = [oid for oid in wanted if oid not in described]
        below: list[tuple[ObjectId, Location]] = []
        for some in batched(rest, _TOGETHER):
            for oid, location in zip(some, self._objects.locate(some), strict=True):
                if location and location.pack.startswith("inbox/"):
                    described[oid] = self._remember(oid, Described(Kind.BLOB, location.range.size))
                elif location:
                    below.append((oid, location))
        # In the order of their packs, where neighbours are read by one request.
        first = sorted(below[:MAX_LOOKUPS], key=itemgetter(1))
        start, count = 0, _HEADS_FIRST
        while heads := first[start : start + count]:
            read = self._objects.stored_many(heads, HEAD_BYTES)
            whole = {oid: Described(*decode_head(head)) for oid, head in read.items() if not deltas.is_delta(head)}
            whole |= self._of_deltas([(oid, at) for oid, at in heads if oid not in whole], chain)
            described |= {oid: self._remember(oid, each) for oid, each in whole.items()}
            start, count = start + count, min(2 * count, _HEADS_MOST)
        if len(first) < len(below):
            raise LookedUpInPart(f"{len(first)} of {len(below)} ids that are new to this process were looked up")
        return described

    def _of_deltas(self, located: list[tuple[ObjectId, Location]], chain: int) -> dict[ObjectId, Described]:
        """Return what deltified objects are: each is of the kind of what it is based on."""
        if not located:
            return {}
        if chain > deltas.MAX_CHAIN:
            raise CorruptObject(f"{located[0][0].hex()} is based on too many deltas")
        heads = self._objects.stored_many(located, deltas.HEAD_BYTES)
        read = {oid: deltas.base_and_size(head) for oid, head in heads.items()}
        bases = self.of((base for base, _ in read.values()), chain + 1)
        if lost := [base for base, _ in read.values() if base not in bases]:
            raise ObjectMissing(f"{lost[0].hex()}, on which others are based")
        return {oid: Described(bases[base].kind, size) for oid, (base, size) in read.items()}

    def _remember(self, oid: ObjectId, described: Described) -> Described:
        with self._lock:
            self._known[oid] = described
        return described
