"""Bringing the view up to date with the log: by the entries that it lacks, or by loading it under a new epoch."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from contextvars import copy_context

from storage.backends.bucket import Bucket, Missing, OutOfRange
from storage.backends.redis_client import UNAVAILABLE
from storage.base.batched import batched
from storage.base.errors import Corrupt, LogForked, LogUnreadable, ViewAbsent
from storage.base.ids import ObjectId, PackId, Seq, oid_of
from storage.git.objects import CorruptObject
from storage.git.packs import Location, PackRange, read_index
from storage.log.entry import NO_HASH, Compact, CorruptEntry, Entry, decode, digest
from storage.log.log import Log, follow
from storage.view.object_index import IndexRows
from storage.view.rows import NOTHING_FORGOTTEN, Forgotten
from storage.view.segments import FOLDER, HEAD_BYTES, CorruptSegment, Segment, ends_of, size_of, wanted
from storage.view.segments import decode as decode_segment
from storage.view.view import View, new_epoch

Indexes = Mapping[PackId, Mapping[ObjectId, PackRange]]


def locations(entry: Entry, indexes: Indexes) -> dict[ObjectId, Location]:
    """Return where the objects are that an entry brings: those of its packs, and the blobs of what it committed."""
    located = {}
    for pack, ranges in indexes.items():
        for oid, pack_range in ranges.items():
            # An index does not tell sizes, and the view must not depend on who applied the entry.
            if pack_range.size:
                pack_range = PackRange(pack_range.offset, pack_range.length, 0)
            located[oid] = Location(pack, pack_range)
    for decided in entry.decided:
        for change in decided.changes:
            blob = change.range
            if blob and change.oid:
                located[oid_of(change.oid)] = Location(decided.pack, blob)
        for merged in decided.merged:
            if merged.size and (location := located.get(oid := oid_of(merged.oid))):
                located[oid] = location._replace(range=location.range._replace(size=merged.size))
    return located


def entry_indexes(bucket: Bucket, entries: Iterable[Entry], gone: set[PackId] | None = None) -> list[Indexes]:
    """Return the ranges of the objects in the packs of several entries, as `read_indexes` does."""
    entries = list(entries)
    packs = [pack for entry in entries for pack in entry.packs]
    indexes = {pack: index for (pack, _), index in zip(packs, read_indexes(bucket, packs, gone), strict=True)}
    return [{pack: indexes[pack] for pack, _ in entry.packs} for entry in entries]


def read_indexes(
    bucket: Bucket, packs: Sequence[tuple[PackId, int]], gone: set[PackId] | None = None
) -> list[dict[ObjectId, PackRange]]:
    """Return the ranges of the objects in packs given with sizes, read at once. Raises Unavailable and Corrupt.

    Packs that are missing are noted in `gone`, where it is given: a compaction may have copied what was in them.
    """

    def read(pack: PackId, size: int) -> dict[ObjectId, PackRange]:
        try:
            return read_index(bucket.get(pack + ".idx"), size)
        except Missing:
            if gone is None:
                raise
            gone.add(pack)
            return {}
        except CorruptObject as error:
            raise CorruptObject(f"{pack}.idx: {error}") from error

    return bucket.map_concurrently(lambda pack: read(*pack), packs)


def _refuse(missing: set[PackId]) -> None:
    """Raise Missing for packs that are gone, and that no entry retires."""
    if missing:
        raise Missing(f"{min(missing)}.idx")


def read_forgotten(log: Log, bucket: Bucket, entry: Entry) -> Forgotten:
    """Return what a compaction has the view forget, read from the log and its packs. Raises Corrupt and Unavailable."""
    if not isinstance(entry, Compact):
        return NOTHING_FORGOTTEN
    indexes = read_indexes(bucket, entry.archives)
    return Forgotten(
        _read_run(log, entry.first, entry.archived),
        _read_run(log, entry.keys_first, entry.keys_through),
        b"".join([oid for index in indexes for oid in index]),
    )


def _read_run(log: Log, first: int, last: int) -> list[tuple[Entry, str]]:
    run = []
    for seq, data in enumerate(log.read_range(first, last), first):
        if data is None:
            raise CorruptEntry(f"entry {seq} is archived, and the log has it not")
        run.append((decode(data), digest(data)))
    return run


def catch_up(view: View, log: Log, bucket: Bucket) -> int:
    """Apply the entries that the published view misses; return how many.

    Several processes may do so at once. Raises ViewAbsent, LogForked where the log does not continue the view,
    LogUnreadable where what an entry names is damaged, Missing where a pack is gone that no entry retires, and
    BucketError.
    """
    snapshot = view.snapshot()
    count, gone, retired = 0, set[PackId](), set[PackId]()
    try:
        for entry, entry_hash in follow(log.read_from(snapshot.head.applied + 1), snapshot.head.hash):
            [indexes] = entry_indexes(bucket, [entry], gone)
            if not gone <= retired:
                # Before it is applied: a published view would miss for good what is away for a moment.
                retired = _retired_behind(log, entry.seq)
                _refuse(gone - retired)
            forgotten = read_forgotten(log, bucket, entry)
            view.apply(snapshot.epoch, entry, entry_hash, locations(entry, indexes), forgotten=forgotten)
            gone.difference_update(entry.retired)
            count += 1
    except CorruptEntry as error:
        raise LogForked(f"the log does not continue the view at entry {snapshot.head.applied}") from error
    except Corrupt as error:
        raise LogUnreadable(f"entry {snapshot.head.applied + count + 1} cannot be applied: {error}") from error
    _refuse(gone)
    return count


def _retired_behind(log: Log, seq: int) -> set[PackId]:
    """Return what the entries behind one retire, to the end of the log."""
    return {name for _, data in log.read_from(seq + 1) for name in decode(data).retired}


Progress = Callable[[int], None]


def load(view: View, log: Log, bucket: Bucket, before: str | None, progress: Progress = lambda seq: None) -> bool:
    """Build the view from the bucket alone under a fresh epoch, and publish it in place of the epoch `before`.

    `progress` is called with how far it is. Returns whether it was published: not where somebody else published another
    meanwhile, or another run of Redis came up. Raises CorruptEntry where the log does not fit together, ViewAbsent
    where there is no log, ViewLoading where somebody else is loading it or has published it, and ViewStale where Redis
    was flushed meanwhile.
    """
    epoch, published = new_epoch(), False
    run = view.begin_loading(epoch, before)
    try:
        with _SaysAtWork(view, epoch):
            through, last_hash = _load_segments(view, log, bucket, epoch, progress)
            batch: list[tuple[Entry, str]] = []
            gone = set[PackId]()
            for pair in follow(log.read_from(through + 1), last_hash):
                batch.append(pair)
                if len(batch) == _BATCH:
                    _apply(view, log, bucket, epoch, batch, gone)
                    progress(batch[-1][0].seq)
                    batch = []
            _apply(view, log, bucket, epoch, batch, gone)
            _refuse(gone)
            if not view.redis.exists(f"{view.prefix}v:{epoch}:head"):
                raise ViewAbsent("there is no log")
            published = view.publish(before, epoch, run)
    finally:
        stale = before if published else epoch
        if stale:
            view.drop(stale)
    return published


class _SaysAtWork(threading.Thread):
    """Says that the loader of an epoch is at work, for as long as its process lives, whatever it waits for."""

    def __init__(self, view: View, epoch: str) -> None:
        super().__init__(name="pulse", daemon=True)
        self._view = view
        self._epoch = epoch
        self._over = threading.Event()

    def run(self) -> None:
        """Say so until the end of the block."""
        while not self._over.wait(_SAYS_EVERY):
            with suppress(*UNAVAILABLE):  # where the epoch is gone, its loader finds that out
                self._view.loading(self._epoch)

    def __enter__(self) -> None:
        """Begin."""
        self.start()

    def __exit__(self, *exc: object) -> None:
        """End."""
        self._over.set()
        self.join()


_BATCH = 32
# Seconds, of the few after which a silent loader counts as dead (storage/view/view.py).
_SAYS_EVERY = 0.6
# Rows of the index that are gathered over segments; as objects they take 200 bytes each.
_GATHERED = 1 << 18
_NO_ENTRY = Seq(0)
# Segments that are read ahead of the one that Redis takes.
_SEGMENTS_AHEAD = 4


def _load_segments(view: View, log: Log, bucket: Bucket, epoch: str, progress: Progress) -> tuple[Seq, str]:
    """Take the rows of all segments that fit one another and the log; return the last entry and its hash."""
    names = line(bucket.list_keys(FOLDER))
    through, last_hash = Seq(0), NO_HASH
    index = IndexRows()

    def send(chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            view.loading(epoch)
            view.scripts("segment", epoch, chunk)

    with closing(_read_ahead(bucket, names, _newest_forgotten(log, bucket, names))) as segments:
        for segment in segments:
            if segment is None or segment.previous != last_hash or not _is_in_log(log, segment):
                break  # the entries themselves say it all
            for chunk in segment.chunks:
                send(index.gather(chunk))
                if len(index) >= _GATHERED:
                    send(index.take())
            through, last_hash = segment.last, segment.hash
            progress(through)
        send(index.take())
    return through, last_hash


def _read_ahead(
    bucket: Bucket, names: Sequence[tuple[str, Seq]], forgotten: tuple[Seq, Seq]
) -> Generator[Segment | None, None, None]:
    """Yield segments in order; the next ones are read and unpacked while Redis takes those before."""

    def read(some: Sequence[tuple[str, Seq]]) -> list[Segment | None]:
        return bucket.map_concurrently(lambda pair: _read_segment(bucket, pair[0], wanted(pair[1], forgotten)), some)

    groups = list(batched(names, _SEGMENTS_AHEAD))
    with ThreadPoolExecutor(1, thread_name_prefix="segments") as reader:
        coming = deque(reader.submit(copy_context().run, read, group) for group in groups[:1])
        for following in [*groups[1:], None]:
            if not coming:
                return
            segments = coming.popleft().result()
            if following is not None:
                coming.append(reader.submit(copy_context().run, read, following))
            yield from segments


def _newest_forgotten(log: Log, bucket: Bucket, names: Sequence[tuple[str, Seq]]) -> tuple[Seq, Seq]:
    """Return up to which entries history and keys are forgotten, as the newest segment says that knows."""
    for name, _ in reversed(names):
        segment = _read_segment(bucket, name, 0)
        if segment is not None and segment.forgotten is not None and _is_in_log(log, segment):
            return segment.forgotten
    return Seq(0), Seq(0)


def _read_segment(bucket: Bucket, name: str, parts: int) -> Segment | None:
    """Return a segment with its first `parts` parts, None where it is damaged or gone."""
    try:
        data = bucket.get_range(name, 0, HEAD_BYTES)
        size = size_of(data, parts)
        return decode_segment(data if len(data) >= size else bucket.get_range(name, 0, size), parts)
    except (CorruptSegment, Missing, OutOfRange):
        return None


def line(names: Iterable[str], last: Seq = _NO_ENTRY) -> list[tuple[str, Seq]]:
    """Return segments, given in order, that follow one another from behind entry `last`, each with its last entry."""
    segments = []
    for name in names:
        ends = ends_of(name)
        if ends and ends[0] == last + 1:
            last = ends[1]
            segments.append((name, last))
    return segments


def _is_in_log(log: Log, segment: Segment) -> bool:
    data = log.read(segment.last)
    return data is not None and digest(data) == segment.hash


def _apply(view: View, log: Log, bucket: Bucket, epoch: str, batch: list[tuple[Entry, str]], gone: set[PackId]) -> None:
    view.loading(epoch)
    pipeline = view.redis.pipeline(transaction=False)
    for (entry, entry_hash), indexes in zip(batch, entry_indexes(bucket, (e for e, _ in batch), gone), strict=True):
        forgotten = read_forgotten(log, bucket, entry)
        view.apply(
            epoch, entry, entry_hash, locations(entry, indexes), published=False, pipeline=pipeline, forgotten=forgotten
        )
        gone.difference_update(entry.retired)
    pipeline.execute()
