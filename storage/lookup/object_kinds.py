"""The kind and size of stored objects, found without reading them.

An id in a request may be that of any object, of any size. The index has only blobs of submission packs, with their
sizes; for objects in other packs, the first bytes tell kind and size. Neither changes, and an object that the log
references is never deleted, so the results can be cached.
"""

import threading
from collections.abc import Iterable
from typing import NamedTuple

from cachetools import LRUCache

from storage.backends.bucket import Bucket
from storage.base.batched import batched
from storage.base.errors import Unavailable
from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.git.objects import Kind
from storage.git.packs import HEAD_BYTES, Location, decode_head
from storage.lookup.object_store import ObjectStore

MAX_LOOKUPS = 4000
"""Objects that one call looks up in the bucket at most."""

# Beside what one request can name: else a request that is repeated until all its ids are known never ended.
_REMEMBERED = 1 << 16
_TOGETHER = 5000  # ids in one look into the index, which Redis does in one go


class LookedUpInPart(Unavailable):
    """Too many objects were new to look up all of them; the results are cached, so the next call continues."""


class Described(NamedTuple):
    """What an object is."""

    kind: Kind
    size: int  # bytes of its content


class Kinds:
    """The kinds of all objects that the log names. Safe for threads."""

    def __init__(self, settings: Settings, bucket: Bucket, objects: ObjectStore) -> None:
        self._bucket = bucket
        self._objects = objects
        self._known: LRUCache[ObjectId, Described] = LRUCache(_REMEMBERED + settings.max_request_changes)
        self._lock = threading.Lock()

    def of(self, oids: Iterable[ObjectId]) -> dict[ObjectId, Described]:
        """Return what these objects are, without those that are not stored.

        Costs few looks into the index, and a few bytes of the bucket for each that stands in no submission pack. Raises
        ViewAbsent, BucketError, Spent and CorruptObject; and LookedUpInPart after `MAX_LOOKUPS` in the bucket. What
        was looked up until then is remembered.
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
        first = below[:MAX_LOOKUPS]
        read = self._bucket.map_concurrently(lambda located: self._read(*located), first)
        if len(first) < len(below):
            raise LookedUpInPart(f"{len(first)} of {len(below)} ids that are new to this process were looked up")
        return described | dict(zip((oid for oid, _ in first), read, strict=True))

    def _read(self, oid: ObjectId, location: Location) -> Described:
        return self._remember(oid, Described(*decode_head(self._objects.stored(oid, location, HEAD_BYTES))))

    def _remember(self, oid: ObjectId, described: Described) -> Described:
        with self._lock:
            self._known[oid] = described
        return described
