"""Compaction: history that is old enough leaves Redis, and small packs become larger ones.

One compaction takes the oldest entries that are not archived, old enough, merged, and in a checkpoint. It copies, as
stored, the objects of their small packs and of submission packs without undecided changesets into one pack, with the
blobs that they committed from other submission packs. It writes where each object is, and where each changeset was
decided, into a table (storage/lookup/tables.py, merged with others of its level), and appends an entry that names both.
This entry removes the rows of the archived entries from the view (storage/view/rows.py), advances the low watermark
(storage/queue/recovery.py), and supersedes the packs: a later compaction deletes them after `gc_grace` seconds. While
Redis has little memory left (storage/backends/redis_memory.py), everything below the watermark is old enough; but
idempotency keys are not removed any sooner.

Everything is stored before the entry names it, under new names; a process that dies leaves garbage. If two run at once,
the second finds the other's entry in the log and discards its own work. A reader that does not find an object or an
outcome in the view looks into the archive (storage/lookup/archive.py). A compaction is limited in entries, changesets,
rows and bytes; a single entry is never split.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, takewhile

import structlog
from msgspec.structs import replace

from storage.backends.bucket import BucketError
from storage.base.batched import batched
from storage.base.ids import ChangesetId, ObjectId, PackId, Seq, changesets_of, new_ulid
from storage.commit import Draft, NoEntry, append_directly, check_snapshot_current
from storage.git.objects import object_id
from storage.git.packs import Location, PackRange, PackWriter, scan
from storage.log.entry import NO_HASH, Close, Compact, Entry, TableRow, digest, log_position
from storage.log.log import follow, name_of
from storage.log.records import Decided
from storage.log.store_pack import store_pack
from storage.lookup.archive import (
    CLOSED_BY,
    GLOBAL_COMMITS,
    MANIFESTS,
    MOVES,
    MOVES_BEFORE,
    POSITIONS,
    PUSHED,
    SUFFIX,
    Row,
    delete_packs,
    move_name,
    object_row,
)
from storage.lookup.tables import due, encode, merged
from storage.maintenance.checkpoints import newest
from storage.queue import MAX_PASSED_PACKS, Stage, Watermark
from storage.repository import Repository
from storage.view.load import read_indexes
from storage.view.rows import Forgotten
from storage.view.snapshot import Head, Snapshot

MAX_ENTRIES = 512
"""Most entries of one compaction: whoever applies it reads them."""

FEW_ENTRIES = 8
"""Entries that are worth a compaction, and a segment of a checkpoint, while Redis has little memory left."""

# A larger pack stays as it is.
ADOPTED_BYTES = 1 << 20
# Most ids in the submission packs of one compaction: of a pack that was decided in parts each is asked for.
_MAX_IDS = 1 << 16
# Most rows of the view that one compaction takes back, about: Redis does nothing else while it does. A changeset has
# some beside those of its changes.
_MAX_ROWS = 1 << 15
_ROWS = 8
_ROWS_OF_CHANGE = 2
# Packs that are deleted, and names that are listed, at most.
_MAX_DELETED = 2000
# The mark alone is worth an entry when it passes so many packs.
_WORTH_MARKING = MAX_PASSED_PACKS
_MAX_MERGES = 4
_TOGETHER = 16
_SMALL = 4 << 20  # bytes of a pack that is read beside others

Entries = list[tuple[Entry, str]]

log = structlog.get_logger()


@dataclass(slots=True)
class Compacted:
    """What one compaction did."""

    entries: int = 0  # archived
    changesets: int = 0
    retired: int = 0  # packs that are copied, and tables that are merged
    deleted: int = 0  # that were retired before
    bytes: int = 0  # of the new pack
    more: bool = False  # it ended at a limit


@dataclass(slots=True)
class _Made:
    """What has been stored for an entry."""

    archives: list[tuple[PackId, int]] = field(default_factory=list)
    rows: dict[bytes, bytes] = field(default_factory=dict)
    retired: list[PackId] = field(default_factory=list)
    tables: list[TableRow] = field(default_factory=list)
    dropped: list[PackId] = field(default_factory=list)
    objects: list[ObjectId] = field(default_factory=list)
    bytes: int = 0

    def add(self, row: Row) -> None:
        """Add a row of the table."""
        self.rows[row[0]] = row[1]

    def archive(self, pack: PackId, size: int, ranges: Mapping[ObjectId, PackRange]) -> None:
        """Take a pack into the archive, with the rows of its objects."""
        self.archives.append((pack, size))
        self.objects += ranges
        for oid, span in ranges.items():
            self.add(object_row(oid, Location(pack, span)))


def compact(repo: Repository) -> Compacted | None:
    """Make one compaction; None where there is nothing to do, or another was faster.

    Harmless at any time, beside writers, and killed at any point. Raises Unavailable and Corrupt.
    """
    head, now = repo.view.head(), repo.bucket.now()
    ahead = now - time.monotonic()  # the store's clock of this process's, which no one sets
    passed = repo.inbox.advance_watermark()
    history, more = _old_enough(repo, head, passed.mark, now)
    archived = history[-1][0].seq if history else head.archived
    keys, more_keys = _old_keys(repo, head, archived, now)
    forgettable = repo.view.superseded(int(now - repo.settings.gc_grace), _MAX_DELETED)
    gone = _deleted(repo, forgettable)
    if not (history or keys or gone or passed.packs >= _WORTH_MARKING):
        return None
    made = _Made()
    if history:
        _copy(repo, history, made)
        _write_tables(repo, made)
    entry = Compact(
        first=Seq(head.archived + 1), archived=archived, keys_first=Seq(head.keys_through + 1),
        keys_through=keys[-1][0].seq if keys else head.keys_through, mark=passed.mark,
        archives=tuple(made.archives), tables=tuple(made.tables), dropped=tuple(made.dropped),
        retired=tuple(made.retired), deleted=tuple(gone), undecided={}, time=0,
    )  # fmt: skip
    forgotten = Forgotten(history, keys, b"".join(made.objects))
    if not _append(repo, head, entry, passed, forgotten, ahead):
        return None
    changesets = sum(len(entry.decided) for entry, _ in history)
    return Compacted(len(history), changesets, len(made.retired), len(gone), made.bytes, more or more_keys)


def _append(
    repo: Repository, head: Head, entry: Compact, passed: Watermark, forgotten: Forgotten, ahead: float
) -> bool:
    def build_entry(snapshot: Snapshot) -> Draft[bool] | NoEntry[bool]:
        if snapshot.head.compacted != head.compacted:
            return NoEntry(False)
        # If this process was paused for longer than `gc_grace`, garbage collection may have tombstoned our packs.
        # Checking on this snapshot suffices: a tombstoning entry takes our position in the log, or follows ours and
        # sees them used.
        stored = [pack for pack, _ in entry.archives] + [table.name for table in entry.tables]
        tombstoned = repo.view.tombstoned_packs(stored)
        check_snapshot_current(repo, snapshot)
        if tombstoned:
            return NoEntry(False)
        # They may have been decided since they were looked at; what is decided stays so.
        undecided = {id_: pack for id_, pack in passed.undecided.items() if id_ not in snapshot.outcomes}
        # As late as can be: what is retired has its grace from then on.
        late = replace(entry, undecided=undecided, time=int(time.monotonic() + ahead))
        return Draft(late, True, forgotten=forgotten)

    return append_directly(repo, build_entry, list(passed.undecided))


def _old_enough(repo: Repository, head: Head, mark: str, now: float) -> tuple[Entries, bool]:
    """Return the next entries to be archived, and whether they end at a limit; none while they are too few."""
    settings = repo.settings
    last = min(head.through, newest(repo))
    tight = repo.memory.is_tight()
    # The mark is the limit that remains: what is not behind it could be taken for undecided.
    oldest, few = (now, FEW_ENTRIES) if tight else (now - settings.history_age, settings.compact_entries)
    old = _count_old(repo, head.archived, last, oldest, few)
    chosen: Entries = []
    changesets = size = ids = rows = 0
    packs: set[PackId] = set()
    for entry, entry_hash in _entries(repo, head.archived, head.archived + old):
        decided = entry.decided
        if any(record.id > mark for record in decided):
            break
        fresh = {record.pack for record in decided} - packs
        changesets += len(decided)
        size += _size(entry)
        ids += sum(len(changesets_of(PackId(pack))) for pack in fresh)
        rows += _rows(decided)
        over = changesets > settings.compact_changesets or size > settings.compact_bytes
        if chosen and (over or ids > _MAX_IDS or rows > _MAX_ROWS):
            return chosen, True
        chosen.append((entry, entry_hash))
        packs |= fresh
    return chosen, len(chosen) == MAX_ENTRIES


def _count_old(repo: Repository, before: int, last: int, oldest: float, few: int) -> int:
    """Return how many of the entries behind `before` up to `last` were stored before a time, 0 where they are few.

    By the store's own times, in one listing: what entries say is by the clocks of those who wrote them.
    """
    # No more than are looked at: a larger setting would stop compactions for good.
    enough = min(few, MAX_ENTRIES)
    if last - before < enough:
        return 0
    most = min(MAX_ENTRIES, last - before)
    stored = [at for _, at in repo.bucket.listing("log/", name_of(before), most)]
    count = sum(1 for _ in takewhile(lambda at: at <= oldest, stored))
    return count if count >= enough else 0


def _entries(repo: Repository, before: int, last: int) -> Iterator[tuple[Entry, str]]:
    """Yield the entries behind `before` up to `last`."""
    if before >= last:
        return
    data = repo.log.read(before) if before else None
    previous = digest(data) if data is not None else NO_HASH
    yield from follow(islice(repo.log.read_from(before + 1), last - before), previous)


def _size(entry: Entry) -> int:
    """Return about how many bytes an entry's packs have, with what it took of submission packs."""
    taken = (change.length or 0 for record in entry.decided for change in record.changes)
    return sum(size for _, size in entry.packs) + sum(taken)


def _old_keys(repo: Repository, head: Head, archived: int, now: float) -> tuple[Entries, bool]:
    """Return the next entries whose idempotency keys are old enough to be forgotten, and whether they end at a limit.

    None while they are too few. Bounded as history is: whoever applies the compaction reads them all.
    """
    old = _count_old(repo, head.keys_through, archived, now - repo.settings.key_age, repo.settings.compact_entries)
    chosen: Entries = []
    changesets = rows = 0
    for entry, entry_hash in _entries(repo, head.keys_through, head.keys_through + old):
        decided = entry.decided
        changesets += len(decided)
        rows += _rows(decided)
        if chosen and (changesets > repo.settings.compact_changesets or rows > _MAX_ROWS):
            return chosen, True
        chosen.append((entry, entry_hash))
    return chosen, len(chosen) == MAX_ENTRIES


def _rows(decided: Sequence[Decided]) -> int:
    """Return about how many rows of the view are of decided changesets, which goes with the size of their entry."""
    return sum(_ROWS + _ROWS_OF_CHANGE * len(record.changes) + len(record.moves) for record in decided)


def _copy(repo: Repository, history: Entries, made: _Made) -> None:
    """Copy small packs into one, and note the rows of everything that is archived."""
    _note_history(history, made)
    _note_moves(repo, history, made)
    own = [pack for entry, _ in history for pack in entry.packs]
    large = [(pack, size) for pack, size in own if size >= ADOPTED_BYTES]
    for (pack, size), ranges in zip(large, read_indexes(repo.bucket, large), strict=True):
        made.archive(pack, size, ranges)
    finished, others = _submitted(repo, history)
    small = [pack for pack, size in own if size < ADOPTED_BYTES] + finished
    if small or others:
        _copy_small(repo, small, others, made)


def _note_history(history: Entries, made: _Made) -> None:
    for entry, _ in history:
        for index, decided in enumerate(entry.decided):
            made.add(POSITIONS.row(decided.id, log_position(entry.seq, index)))
            if decided.pushed:
                made.add(PUSHED.row(decided.pushed.commit, decided.id))
            if decided.closes:
                made.add(CLOSED_BY.row(decided.closes.id, decided.id))
        if isinstance(entry, Close):
            for closed in entry.closed:
                made.add(CLOSED_BY.row(closed.id, closed.by or ""))
        if of := entry.global_commit:
            made.add(GLOBAL_COMMITS.row(of.commit, entry.seq))


def _note_moves(repo: Repository, history: Entries, made: _Made) -> None:
    """Note each move away from a path, with the one before it: readers go from the last one back."""
    moves = [
        (moved.source, log_position(entry.seq, index))
        for entry, _ in history
        for index, decided in enumerate(entry.decided)
        for moved in decided.moves
    ]
    # Another compaction cannot come in between: it would be in the log before this one, which is discarded then.
    last = repo.archive.moved_last(list(dict.fromkeys(path for path, _ in moves)))
    for path, position in moves:
        before = last.get(path, 0)
        made.add(MOVES.row(path, (position, before)))
        made.add(MOVES_BEFORE.row(move_name(path, position), (position, before)))
        last[path] = position


def _submitted(repo: Repository, history: Entries) -> tuple[list[PackId], dict[PackId, set[str]]]:
    """Return the submission packs of these entries in which nothing is undecided, and that have not been copied.

    Then the others, with the blobs that these entries committed: a pack stays while one of its changesets is held, and
    the view forgets where those blobs stand all the same.
    """
    committed: dict[PackId, set[str]] = {}
    here: set[ChangesetId] = set()
    for record in chain.from_iterable(entry.decided for entry, _ in history):
        here.add(record.id)
        committed.setdefault(record.pack, set()).update(record.blobs())
    members = {pack: changesets_of(pack) for pack in committed}
    # A pack all of whose changesets were decided here no compaction has met before. That is nearly every one of them.
    in_parts = [pack for pack, ids in members.items() if not here.issuperset(ids)]
    copied = repo.archive.manifests(in_parts)
    asked = [changeset for pack in in_parts if pack not in copied for changeset in members[pack]]
    stages = zip(asked, repo.queue.stages(asked), strict=True)
    decided = here.union(changeset for changeset, stage in stages if stage is Stage.DECIDED)
    finished = [pack for pack in committed if pack not in copied and decided.issuperset(members[pack])]
    taken = {*copied, *finished}
    return finished, {pack: blobs for pack, blobs in committed.items() if blobs and pack not in taken}


def _copy_small(repo: Repository, packs: Sequence[PackId], parts: Mapping[PackId, set[str]], made: _Made) -> None:
    """Copy packs into larger ones, which are retired then; and of the packs of `parts` these objects."""
    writer = PackWriter()
    manifests: dict[PackId, ObjectId] = {}
    for pack, data in _read_packs(repo, [*packs, *parts]):
        only, oid = parts.get(pack), ObjectId(b"")
        for span, kind, content in scan(data):
            oid = object_id(kind, content)
            if only is None or oid.hex() in only:
                writer.add_encoded(oid, data[span.offset : span.offset + span.length], len(content))
        if only is None and pack.startswith("inbox/"):
            manifests[pack] = oid  # the last object
        if writer.size > repo.settings.compact_bytes:
            _store(repo, writer, manifests, made)
            writer, manifests = PackWriter(), {}
    if writer:
        _store(repo, writer, manifests, made)
    made.retired += packs


def _read_packs(repo: Repository, packs: Sequence[PackId]) -> Iterator[tuple[PackId, bytes]]:
    """Yield packs, several small ones read at once; of the large ones one at a time is in memory."""
    for some in batched(packs, _TOGETHER):
        read = repo.bucket.map_concurrently(lambda pack: repo.bucket.get_range(pack + ".pack", 0, _SMALL), some)
        for pack, data in zip(some, read, strict=True):
            yield pack, data if len(data) < _SMALL else repo.bucket.get(pack + ".pack")


def _store(repo: Repository, writer: PackWriter, manifests: Mapping[PackId, ObjectId], made: _Made) -> None:
    name, size = store_pack(repo.bucket, writer)
    made.archive(name, size, writer.ranges)
    for pack, oid in manifests.items():
        made.add(MANIFESTS.row(pack, Location(name, writer.ranges[oid])))
    made.bytes += size


def _write_tables(repo: Repository, made: _Made) -> None:
    """Store the table of what is archived, merged with others where there are enough of them."""
    fresh = {TableRow(PackId(f"packs/{new_ulid()}"), 0, 0, 0): encode(made.rows)}
    tables = [*(repo.view.tables()[1] or ()), *fresh]
    for _ in range(_MAX_MERGES):
        group = due(tables)
        if group is None:
            break
        stored = [table for table in group if table not in fresh]
        read = repo.bucket.map_concurrently(lambda table: repo.bucket.get(table.name + SUFFIX), stored)
        whole = dict(zip(stored, read, strict=True)) | {table: fresh.pop(table) for table in group if table in fresh}
        parts = {
            TableRow(PackId(f"packs/{new_ulid()}"), group[0].level + 1, bits, prefix): data
            for bits, prefix, data in merged([(table, whole[table]) for table in group])
        }
        fresh |= parts
        made.dropped += [table.name for table in stored]
        tables = [table for table in tables if table not in group] + list(parts)
    repo.bucket.map_concurrently(lambda table: repo.bucket.put_verified(table.name + SUFFIX, fresh[table]), fresh)
    made.tables = list(fresh)
    made.retired += made.dropped


def _deleted(repo: Repository, names: Sequence[PackId]) -> Sequence[PackId]:
    """Delete what was retired, and return what is gone: nothing where the store fails, which need not stop the rest."""
    if not names:
        return names
    try:
        kept = delete_packs(repo.bucket, names)
    except BucketError as error:
        # A later compaction finds them retired still.
        log.warning("not_deleted", packs=len(names), detail=str(error))
        return []
    if kept:
        log.warning("not_deleted", packs=len(kept), detail=f"the store refuses to delete {min(kept)}")
    return [name for name in names if name not in kept]
