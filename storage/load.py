"""Bringing the view up to the log: by the entries that it misses, or anew under a fresh epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from storage.bucket import Bucket
from storage.entries import NO_HASH, CorruptEntry, EntryKind, Json, Status, digest
from storage.ids import ObjectId, PackId, Seq
from storage.log import Log, follow
from storage.packs import Location, Place, read_index
from storage.scripts import LogForked, ViewAbsent
from storage.segments import FOLDER, CorruptSegment, Segment, ends_of
from storage.segments import decode as decode_segment
from storage.view import View, new_epoch

Places = Mapping[PackId, Mapping[ObjectId, Place]]


def locations(entry: Json, packs: Places) -> dict[ObjectId, Location]:
    """Return where the objects are that an entry brings: those of its packs, and the blobs of what it committed."""
    found = {}
    for pack, places in packs.items():
        for oid, place in places.items():
            # An index does not tell sizes, and the view must not depend on who applied the entry.
            found[oid] = Location(pack, place._replace(size=0))
    if entry["kind"] == EntryKind.COMMITS:
        for decided in entry["decided"]:
            if decided["status"] != Status.COMMITTED:
                continue
            for _, _, oid, *place in decided["changes"]:
                if place:
                    found[ObjectId(bytes.fromhex(oid))] = Location(PackId(decided["pack"]), Place(*place))
            for _, _, oid, size in decided.get("merged", []):
                merged = ObjectId(bytes.fromhex(oid))
                if size is not None and merged in found:
                    found[merged] = found[merged]._replace(place=found[merged].place._replace(size=size))
    return found


def read_places(bucket: Bucket, entries: Iterable[Json]) -> list[Places]:
    """Return the places of the objects in the packs of several entries, the indexes read at once.

    Raises Missing, BucketError and CorruptObject.
    """
    entries = list(entries)
    wanted = [(PackId(pack), size) for entry in entries for pack, size in entry.get("packs", [])]
    read = bucket.together([lambda p=pack, s=size: read_index(bucket.get(p + ".idx"), s) for pack, size in wanted])  # type: ignore[misc]
    places = {pack: index for (pack, _), index in zip(wanted, read, strict=True)}
    return [{pack: places[pack] for pack, _ in entry.get("packs", [])} for entry in entries]


def catch_up(view: View, log: Log, bucket: Bucket) -> int:
    """Apply the entries that the published view misses; return how many.

    Several processes may do so at once. Raises ViewAbsent, and LogForked where the log does not continue the view.
    """
    snapshot = view.snapshot()
    count = 0
    try:
        for entry, entry_hash in follow(log.read_from(snapshot.head.applied + 1), snapshot.head.hash):
            [places] = read_places(bucket, [entry])
            view.apply(snapshot.epoch, entry, entry_hash, locations(entry, places))
            count += 1
    except CorruptEntry as error:
        raise LogForked(f"the log does not continue the view at entry {snapshot.head.applied}") from error
    return count


Progress = Callable[[int], None]


def load(view: View, log: Log, bucket: Bucket, progress: Progress = lambda seq: None) -> bool:
    """Build the view from the bucket alone under a fresh epoch, and publish it; `progress` is told how far it is.

    Returns whether it was published: not where somebody else published another meanwhile. Raises CorruptEntry where
    the log does not fit together, ViewAbsent where there is no log, ViewLoading where somebody else is loading it, and
    ViewStale where Redis was flushed meanwhile.
    """
    before, epoch, published = view.epoch(), new_epoch(), False
    view.loading(epoch, begins=True)
    try:
        through, last_hash = _load_segments(view, log, bucket, epoch, progress)
        batch: list[tuple[Json, str]] = []
        for pair in follow(log.read_from(through + 1), last_hash):
            batch.append(pair)
            if len(batch) == _BATCH:
                _apply(view, bucket, epoch, batch)
                progress(batch[-1][0]["seq"])
                batch = []
        _apply(view, bucket, epoch, batch)
        if not view.redis.exists(f"{view.prefix}v:{epoch}:head"):
            raise ViewAbsent("there is no log")
        published = view.publish(before, epoch)
    finally:
        stale = before if published else epoch
        if stale:
            view.drop(stale)
    return published


_BATCH = 32
# Segments that are read ahead of the one that Redis takes.
_SEGMENTS_AHEAD = 4


def _load_segments(view: View, log: Log, bucket: Bucket, epoch: str, progress: Progress) -> tuple[Seq, str]:
    """Take the rows of all segments that fit one another and the log; return the last entry and its hash."""
    names = line(bucket.names(FOLDER))
    through, last_hash = Seq(0), NO_HASH
    for start in range(0, len(names), _SEGMENTS_AHEAD):
        for data in bucket.get_many(names[start : start + _SEGMENTS_AHEAD]):
            try:
                segment = decode_segment(data or b"")
            except CorruptSegment:
                return through, last_hash  # the entries themselves say it all
            if segment.previous != last_hash or not _is_in_log(log, segment):
                return through, last_hash
            view.loading(epoch)
            for chunk in segment.chunks:
                view.scripts("segment", epoch, chunk)
            through, last_hash = segment.last, segment.hash
            progress(through)
    return through, last_hash


def line(names: Iterable[str], last: int = 0) -> list[str]:
    """Return the names of segments that follow one another from behind entry `last` on, given in order."""
    found = []
    for name in names:
        first, end = ends_of(name)
        if first == last + 1:
            found.append(name)
            last = end
    return found


def _is_in_log(log: Log, segment: Segment) -> bool:
    data = log.read(segment.last)
    return data is not None and digest(data) == segment.hash


def _apply(view: View, bucket: Bucket, epoch: str, batch: list[tuple[Json, str]]) -> None:
    view.loading(epoch)
    pipeline = view.redis.pipeline(transaction=False)
    for (entry, entry_hash), places in zip(batch, read_places(bucket, (e for e, _ in batch)), strict=True):
        view.apply(epoch, entry, entry_hash, locations(entry, places), published=False, pipeline=pipeline)
    pipeline.execute()
