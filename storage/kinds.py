"""Of which kind stored objects are, and how large, found without reading them.

An id that a request names may be that of any object, of any size. What submission packs have is said by the index: it
names blobs of theirs alone, with their sizes. Of an object in another pack the first bytes say it. Neither changes, and
what the log names is never given up, so what was found may be remembered.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple

from cachetools import LRUCache

from storage.bucket import Bucket
from storage.ids import ObjectId
from storage.objects import Kind
from storage.packs import HEAD_BYTES, Location, decode_head
from storage.store import ObjectStore

_REMEMBERED = 1 << 16


class Described(NamedTuple):
    """What an object is."""

    kind: Kind
    size: int  # bytes of its content


class Kinds:
    """The kinds of all objects that the log names. Safe for threads."""

    def __init__(self, bucket: Bucket, objects: ObjectStore) -> None:
        self._bucket = bucket
        self._objects = objects
        self._known: LRUCache[ObjectId, Described] = LRUCache(_REMEMBERED)
        self._lock = threading.Lock()

    def of(self, oids: Iterable[ObjectId]) -> dict[ObjectId, Described]:
        """Return what these objects are, without those that are not stored.

        Costs one look into the index, and a few bytes of the bucket for each that stands in no submission pack. Raises
        ViewAbsent, BucketError and CorruptObject.
        """
        wanted = list(dict.fromkeys(oids))
        with self._lock:
            found = {oid: self._known[oid] for oid in wanted if oid in self._known}
        rest = [oid for oid in wanted if oid not in found]
        located = zip(rest, self._objects.locate(rest) if rest else [], strict=True)
        places = [(oid, location) for oid, location in located if location]
        fresh = self._bucket.together([lambda o=oid, p=place: self._look(o, p) for oid, place in places])  # type: ignore[misc]
        made = dict(zip((oid for oid, _ in places), fresh, strict=True))
        with self._lock:
            for oid, described in made.items():
                self._known[oid] = described
        return found | made

    def _look(self, oid: ObjectId, location: Location) -> Described:
        if location.pack.startswith("inbox/"):
            return Described(Kind.BLOB, location.place.size)
        return Described(*decode_head(self._objects.stored(oid, location, HEAD_BYTES)))
