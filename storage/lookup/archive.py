"""The archive: history that has left the view, looked up in the bucket.

Compactions write it into tables (storage/lookup/tables.py): where objects are, in which entry a changeset was decided
and what closed its conflict, which entry made a global commit, where the manifest of a deleted submission pack is, and
which changesets moved a file away from a path.
These facts never change, so caches of them cannot be wrong; only the list of tables changes, and is read each time.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Generic, TypeVar

from cachetools import LRUCache

from storage.backends.bucket import Bucket, Missing
from storage.base.batched import batched
from storage.base.errors import ViewStale
from storage.base.ids import ChangesetId, ObjectId, PackId, Seq
from storage.base.settings import Settings
from storage.git.packs import Location
from storage.git.paths import recorded_path
from storage.log.entry import SLOTS, Entry, GlobalCommit, TableRow, decode, outcome_in
from storage.log.log import Log
from storage.log.records import Left, Outcome, Status
from storage.lookup.tables import HEAD_BYTES, VALUE_BYTES, Head, find, head_of, oldest_first, prefix_of, rows_of
from storage.view.view import View, decode_location, encode_location

SUFFIX = ".table"
PACK_FILES = (".idx", ".pack", SUFFIX)
"""What may stand under a name below `packs/`: a pack and its index, or a table."""
_NUMBER = struct.Struct(">Q")
_TWO_NUMBERS = struct.Struct(">QQ")
_BY = struct.Struct("26s")
_DECODED = 6  # bytes of a decoded entry in memory against those of its JSON, about
_TOGETHER = 16
_TURNS = 3  # the tables may be merged between the list and a look into them

Row = tuple[bytes, bytes]
K = TypeVar("K")
N = TypeVar("N", bound=str)
V = TypeVar("V")


def object_row(oid: ObjectId, location: Location) -> Row:
    """Return the row that tells where an object stands."""
    return oid, encode_location(location)


@dataclass(frozen=True, slots=True)
class RowKind(Generic[V]):
    """Rows that tell one fact about a changeset, a commit or a pack, by its name."""

    kind: str
    encode: Callable[[V], bytes]
    decode: Callable[[bytes], V]

    def key(self, name: str) -> bytes:
        """Return the key of the row about `name`."""
        return sha1(f"{self.kind}:{name}".encode(), usedforsecurity=False).digest()

    def row(self, name: str, value: V) -> Row:
        """Return the row that tells `value` about `name`."""
        return self.key(name), self.encode(value)

    def find(self, rows: Mapping[bytes, bytes], name: str) -> V | None:
        """Return what all rows tell about `name`, None where they tell nothing."""
        value = rows.get(self.key(name))
        return self.decode(value) if value else None


def _number(value: bytes) -> int:
    return int(_NUMBER.unpack_from(value)[0])


POSITIONS = RowKind("changeset", _NUMBER.pack, _number)  # at which position of the log a changeset was decided
CLOSED_BY: RowKind[str] = RowKind(  # what closed a changeset's conflict
    "closed", lambda by: _BY.pack(by.encode()), lambda value: value.rstrip(b"\0").decode()
)
PUSHED: RowKind[str] = RowKind(  # which changeset a commit became that was pushed
    "pushed", lambda changeset: _BY.pack(changeset.encode()), lambda value: value.rstrip(b"\0").decode()
)
GLOBAL_COMMITS = RowKind("global", _NUMBER.pack, _number)  # which entry made a global commit
MANIFESTS = RowKind("manifest", encode_location, decode_location)  # of submission packs that are gone


def _moves(kind: str) -> RowKind[tuple[int, int]]:
    return RowKind(kind, lambda two: _TWO_NUMBERS.pack(*two), _TWO_NUMBERS.unpack_from)


MOVES = _moves("moved")  # at which position of the log a file left a path last, and the time before that (0: never)
MOVES_BEFORE = _moves("moved-before")  # the same as of a position at which one left it, named as `move_name` says


def move_name(path: str, position: int) -> str:
    """Return under which name one of several moves away from a path stands."""
    return f"{position}:{path}"


def read_all(bucket: Bucket, tables: Iterable[TableRow]) -> dict[bytes, bytes]:
    """Return the newest row for each key of all tables, for readers of everything. Raises Corrupt and Unavailable."""
    rows: dict[bytes, bytes] = {}
    for table in oldest_first(tables):
        rows.update(rows_of(bucket.get(table.name + SUFFIX)))
    return rows


def delete_packs(bucket: Bucket, names: Iterable[str]) -> set[str]:
    """Delete what stands under the names of packs, submission packs and tables.

    Returns the names of those of which the store refuses to delete something. Raises BucketError, after which some may
    be deleted.
    """
    files = (name + suffix for name in names for suffix in (PACK_FILES if name.startswith("packs/") else (".pack",)))
    return {refused.rpartition(".")[0] for refused in bucket.delete(*files)}


class Archive:
    """The archive of one repository. Safe for threads."""

    def __init__(self, settings: Settings, bucket: Bucket, log: Log, view: View) -> None:
        self.bucket = bucket
        self._log = log
        self._view = view
        self._lock = threading.Lock()
        self._heads: LRUCache[str, Head] = LRUCache(settings.archive_cache_bytes // 2, getsizeof=_size_of_head)
        self._runs: LRUCache[tuple[str, int], bytes] = LRUCache(settings.archive_cache_bytes // 4, getsizeof=len)
        self._entries: LRUCache[int, tuple[Entry, int]] = LRUCache(
            settings.archive_cache_bytes // 4, getsizeof=lambda item: item[1]
        )
        self._tables = _Tables(-1, ())

    def locate(self, oids: Sequence[ObjectId]) -> list[Location | None]:
        """Return where objects stand, None for those that are not archived. Raises Unavailable."""
        rows = self._find(oids)
        return [decode_location(rows[oid]) if oid in rows else None for oid in oids]

    def manifests(self, packs: Sequence[PackId]) -> dict[PackId, Location]:
        """Return where the manifests of submission packs stand that are gone. See `locate`."""
        return self.look_up(MANIFESTS, packs)

    def positions(self, changesets: Sequence[N], since: int) -> dict[N, int]:
        """Return the positions of archived changesets in the log; `since` is the compaction that somebody knows of.

        Raises ViewAbsent, ViewStale where the view knows less than that by now, and BucketError.
        """
        return self.look_up(POSITIONS, changesets, since)

    def outcomes(self, changesets: Sequence[N], since: int) -> dict[N, Outcome]:
        """Return the outcomes of archived changesets: a look-up, and an entry of the log for each. See `positions`."""
        outcomes: dict[N, Outcome] = {}
        by_entry: dict[int, list[tuple[int, N]]] = {}
        for changeset, position in self.positions(changesets, since).items():
            seq, index = divmod(position, SLOTS)
            by_entry.setdefault(seq, []).append((index, changeset))
        # In log order and some entries at a time: each may have megabytes.
        for some in batched(sorted(by_entry), _TOGETHER):
            for seq, entry in self._read(some).items():
                for index, changeset in by_entry[seq]:
                    outcomes[changeset] = outcome_in(entry, index)
        return outcomes

    def decisions(self, changesets: Sequence[N], since: int) -> tuple[dict[N, Outcome], dict[N, str]]:
        """Return the outcomes of archived changesets, and what closed their conflicts. See `positions`."""
        outcomes = self.outcomes(changesets, since)
        conflicted = [changeset for changeset in outcomes if outcomes[changeset].status == Status.CONFLICTED]
        return outcomes, self.look_up(CLOSED_BY, conflicted, since)

    def moved_last(self, paths: Sequence[str]) -> dict[str, int]:
        """Return at which position of the log a file left each path last, of what is archived. Raises Unavailable."""
        return {path: last for path, (last, _) in self.look_up(MOVES, paths).items()}

    def moved_from(self, path: bytes, after: int, since: int, most: int) -> list[Left] | None:
        """Return the archived moves from a path behind the position `after`, in log order; None: more than `most`.

        `since` is the compaction that somebody knows of. A look-up, and an entry of the log, for each. See `positions`.
        """
        name, found = recorded_path(path), list[Left]()
        kind, key = MOVES, name
        while known := self.look_up(kind, [key], since).get(key):
            position, before = known
            if position <= after:
                break
            if len(found) == most:
                return None
            seq, index = divmod(position, SLOTS)
            record = self._read({seq})[seq].decided[index]
            found += [Left.of(moved, position) for moved in record.moves if moved.source == name]
            if not before:
                break
            kind, key = MOVES_BEFORE, move_name(name, before)
        return found[::-1]

    def global_commit(self, commit: str) -> GlobalCommit | None:
        """Return an archived global commit, None where there is none. Raises Unavailable."""
        seq = self.look_up(GLOBAL_COMMITS, [commit]).get(commit)
        entry = self._read({seq})[seq] if seq is not None else None
        return entry.global_commit if entry else None

    def pushed(self, commits: Sequence[str]) -> dict[str, ChangesetId]:
        """Return the archived changesets that pushed commits became, by the commits' ids. Raises Unavailable."""
        return {commit: ChangesetId(found) for commit, found in self.look_up(PUSHED, commits).items()}

    def look_up(self, kind: RowKind[V], names: Sequence[N], since: int = 0) -> dict[N, V]:
        """Return what rows of a kind tell about names. Raises as `positions` does."""
        keys = {kind.key(name): name for name in names}
        return {keys[key]: kind.decode(value) for key, value in self._find(list(keys), since).items()}

    def _read(self, seqs: Iterable[int]) -> Mapping[int, Entry]:
        """Return entries of the log by their numbers, several read at once."""

        def read(missing: list[int]) -> Iterator[tuple[Entry, int]]:
            for seq, data in zip(missing, self._log.read_many(map(Seq, missing)), strict=True):
                if data is None:
                    raise ViewStale(f"the view has archived entry {seq}, which the log has not")
                yield decode(data), _DECODED * len(data)

        return {seq: entry for seq, (entry, _) in self._cached(self._entries, sorted(seqs), read).items()}

    def _cached(self, cache: LRUCache[K, V], keys: Collection[K], read: Callable[[list[K]], Iterable[V]]) -> dict[K, V]:
        """Return what a cache has of these keys, and what `read` returns for the others, kept where it fits."""
        with self._lock:
            known = {key: cache[key] for key in keys if key in cache}
        missing = [key for key in keys if key not in known]
        fresh = dict(zip(missing, read(missing), strict=True))
        with self._lock:
            for key, value in fresh.items():
                if cache.getsizeof(value) < cache.maxsize:
                    cache[key] = value
        return known | fresh

    def _find(self, keys: Sequence[bytes], since: int = 0) -> dict[bytes, bytes]:
        """Return the values of those keys that any table has."""
        if not keys:
            return {}
        for turn in range(_TURNS):
            known = self._tables
            compacted, listed = self._view.tables(known.compacted)
            if listed is not None:
                # Of one entry of the log, so whoever else is here finds the same.
                known = self._tables = _Tables(compacted, listed)
            if compacted < since:
                # Redis came back older in between: what is not found there may well exist.
                raise ViewStale("the view has gone back")
            try:
                return self._find_in(known, keys)
            except Missing as error:
                if turn == _TURNS - 1:
                    # Redis came back older by more than their grace: those who ask are not to blame, and wait.
                    raise ViewStale(f"the view names tables that are gone: {error}") from error
        raise AssertionError

    def _find_in(self, tables: _Tables, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        asked: dict[TableRow, list[bytes]] = {}
        for key in keys:
            for table in tables.of(key):
                asked.setdefault(table, []).append(key)
        heads = self._cached(self._heads, [table.name for table in asked], self._read_heads)
        wanted: dict[tuple[str, int], int] = {}
        looks: list[tuple[bytes, tuple[str, int]]] = []
        for table in oldest_first(asked):
            for key in asked[table]:
                offset, length = heads[table.name].span(key)
                if length:
                    wanted[table.name, offset] = length
                    looks.append((key, (table.name, offset)))

        def read_runs(missing: list[tuple[str, int]]) -> Iterator[bytes]:
            ranges = [(name + SUFFIX, offset, wanted[name, offset]) for name, offset in missing]
            for (name, _, _), run in zip(ranges, self.bucket.get_ranges(ranges), strict=True):
                if run is None:
                    raise Missing(name)
                yield run

        runs = self._cached(self._runs, wanted, read_runs)
        values = ((key, find(runs[at], key)) for key, at in looks)
        return {key: value for key, value in values if value is not None}

    def _read_heads(self, names: list[str]) -> Iterator[Head]:
        read = self.bucket.map_concurrently(lambda name: self.bucket.get_range(name + SUFFIX, 0, HEAD_BYTES), names)
        return map(head_of, read)


class _Tables:
    """The tables as of one compaction, found by a key's leading bits."""

    def __init__(self, compacted: int, tables: Iterable[TableRow]) -> None:
        self.compacted = compacted
        self._by_prefix: dict[tuple[int, int], list[TableRow]] = {}
        for table in tables:
            self._by_prefix.setdefault((table.bits, table.prefix), []).append(table)
        self._bits = sorted({bits for bits, _ in self._by_prefix})

    def of(self, key: bytes) -> Iterator[TableRow]:
        """Yield the tables in which a key would stand."""
        for bits in self._bits:
            yield from self._by_prefix.get((bits, prefix_of(key, bits)), ())


def _size_of_head(head: Head) -> int:
    return 200 + 4 * len(head.ends)


assert _BY.size <= VALUE_BYTES
