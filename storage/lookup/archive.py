"""The archive: history that has left the view, looked up in the bucket.

Compactions write it into tables (storage/lookup/tables.py): where objects are, in which entry a changeset was decided
and what closed its conflict, which entry made a global commit, and where the manifest of a deleted submission pack is.
These facts never change, so caches of them cannot be wrong; only the list of tables changes, and is read each time.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha1
from typing import Any, TypeVar

from cachetools import LRUCache

from storage.backends.bucket import Bucket, Missing
from storage.base.batched import batched
from storage.base.errors import ViewStale
from storage.base.ids import ChangesetId, ObjectId, PackId, Seq
from storage.base.settings import Settings
from storage.git.packs import Location
from storage.log.entry import SLOTS, Entry, Genesis, GlobalCommit, Merge, TableRow, decode
from storage.log.log import Log
from storage.log.records import Outcome
from storage.lookup.tables import HEAD_BYTES, VALUE_BYTES, Head, find, head_of, oldest_first, prefix_of, rows_of
from storage.view.view import View, decode_location, encode_location

SUFFIX = ".table"
PACK_FILES = (".idx", ".pack", SUFFIX)
"""What may stand under a name below `packs/`: a pack and its index, or a table."""
_PLACE = struct.Struct(">Q")
_BY = struct.Struct("26s")
_DECODED = 6  # bytes of a decoded entry in memory against those of its JSON, about
_TOGETHER = 16
_TURNS = 3  # the tables may be merged between the list and a look into them

Row = tuple[bytes, bytes]
T = TypeVar("T")


def object_row(oid: ObjectId, location: Location) -> Row:
    """Return the row that tells where an object stands."""
    return oid, encode_location(location)


def changeset_row(changeset: str, place: int) -> Row:
    """Return the row that tells at which place of the log a changeset was decided."""
    return _key("changeset", changeset), _PLACE.pack(place)


def closed_row(changeset: str, by: str) -> Row:
    """Return the row that tells what closed a changeset's conflict."""
    return _key("closed", changeset), _BY.pack(by.encode())


def global_row(commit: str, seq: int) -> Row:
    """Return the row that tells which entry made a global commit."""
    return _key("global", commit), _PLACE.pack(seq)


def manifest_row(pack: str, location: Location) -> Row:
    """Return the row that tells where the manifest of a submission pack stands that is gone."""
    return _key("manifest", pack), encode_location(location)


def _key(kind: str, name: str) -> bytes:
    return sha1(f"{kind}:{name}".encode(), usedforsecurity=False).digest()


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


def manifest_in(rows: Mapping[bytes, bytes], pack: str) -> Location | None:
    """Return where the manifest of a submission pack stands that is gone, given all rows."""
    return _value_in(rows, "manifest", pack, decode_location)


def position_in(rows: Mapping[bytes, bytes], changeset: str) -> int | None:
    """Return a changeset's place, given all rows."""
    return _value_in(rows, "changeset", changeset, _number)


def closed_in(rows: Mapping[bytes, bytes], changeset: str) -> str | None:
    """Return what closed a changeset's conflict, given all rows."""
    return _value_in(rows, "closed", changeset, _text)


def global_in(rows: Mapping[bytes, bytes], commit: str) -> int | None:
    """Return which entry made a global commit, given all rows."""
    return _value_in(rows, "global", commit, _number)


def _value_in(rows: Mapping[bytes, bytes], kind: str, name: str, read: Callable[[bytes], T]) -> T | None:
    found = rows.get(_key(kind, name))
    return read(found) if found else None


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
        found = self._find(oids)
        return [decode_location(found[oid]) if oid in found else None for oid in oids]

    def manifests(self, packs: Sequence[PackId]) -> dict[PackId, Location]:
        """Return where the manifests of submission packs stand that are gone. See `locate`."""
        return self._look_up("manifest", packs, decode_location)

    def places(self, changesets: Sequence[str], since: int) -> dict[str, int]:
        """Return the places of archived changesets in the log; `since` is the compaction that somebody knows of.

        Raises ViewAbsent, ViewStale where the view knows less than that by now, and BucketError.
        """
        return self._look_up("changeset", changesets, _number, since)

    def outcomes(self, changesets: Sequence[str], since: int) -> dict[ChangesetId, Outcome]:
        """Return the outcomes of archived changesets: a look-up, and an entry of the log for each. See `places`."""
        found: dict[ChangesetId, Outcome] = {}
        # In log order and some entries at a time: each may have megabytes.
        places = sorted((place, each) for each, place in self.places(changesets, since).items())
        for some in batched(places, _TOGETHER):
            entries = self._read({place // SLOTS for place, _ in some})
            for place, each in some:
                seq, index = divmod(place, SLOTS)
                found[ChangesetId(each)] = Outcome.of(entries[seq].decided[index], seq, index)
        return found

    def closed(self, changesets: Sequence[str], since: int) -> dict[str, str]:
        """Return what closed the conflicts of changesets, as far as that is archived. See `places`."""
        return self._look_up("closed", changesets, _text, since)

    def global_commit(self, commit: str) -> GlobalCommit | None:
        """Return an archived global commit, None where there is none. Raises Unavailable."""
        seq = self._look_up("global", [commit], _number).get(commit)
        entry = self._read({seq})[seq] if seq is not None else None
        return GlobalCommit.of(entry) if isinstance(entry, Genesis | Merge) else None

    def _look_up(self, kind: str, names: Sequence[Any], read: Callable[[bytes], Any], since: int = 0) -> dict[Any, Any]:
        keys = {_key(kind, name): name for name in names}
        return {keys[key]: read(value) for key, value in self._find(list(keys), since).items()}

    def _read(self, seqs: Iterable[int]) -> Mapping[int, Entry]:
        """Return entries of the log by their numbers, several read at once."""
        wanted = sorted(seqs)
        with self._lock:
            found = {seq: self._entries[seq][0] for seq in wanted if seq in self._entries}
        missing = [seq for seq in wanted if seq not in found]
        sizes = {}
        for seq, data in zip(missing, self._log.read_many(Seq(each) for each in missing), strict=True):
            if data is None:
                raise ViewStale(f"the view has archived entry {seq}, which the log has not")
            found[seq], sizes[seq] = decode(data), _DECODED * len(data)
        with self._lock:
            for seq in missing:
                if sizes[seq] < self._entries.maxsize:
                    self._entries[seq] = found[seq], sizes[seq]
        return found

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
        self._open(list(asked))
        wanted: dict[tuple[str, int], int] = {}
        looks: list[tuple[bytes, tuple[str, int]]] = []
        for table in oldest_first(asked):
            for key in asked[table]:
                offset, length = self._heads_of(table.name).span(key)
                if length:
                    wanted[table.name, offset] = length
                    looks.append((key, (table.name, offset)))
        runs = self._read_runs(wanted)
        found = ((key, find(runs[at], key)) for key, at in looks)
        return {key: value for key, value in found if value is not None}

    def _open(self, tables: Sequence[TableRow]) -> None:
        """Have the headers of these tables in memory."""
        with self._lock:
            missing = [table.name for table in tables if table.name not in self._heads]
        read = self.bucket.map_concurrently(lambda name: self.bucket.get_range(name + SUFFIX, 0, HEAD_BYTES), missing)
        with self._lock:
            for name, data in zip(missing, read, strict=True):
                head = head_of(data)
                if _size_of_head(head) < self._heads.maxsize:
                    self._heads[name] = head

    def _heads_of(self, name: str) -> Head:
        with self._lock:
            found = self._heads.get(name)
        # Pushed out by others meanwhile: then this one alone.
        return found or head_of(self.bucket.get_range(name + SUFFIX, 0, HEAD_BYTES))

    def _read_runs(self, wanted: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], bytes]:
        with self._lock:
            runs = {at: self._runs[at] for at in wanted if at in self._runs}
        missing = [at for at in wanted if at not in runs]
        read = self.bucket.map_concurrently(
            lambda at: self.bucket.get_range(at[0] + SUFFIX, at[1], wanted[at]), missing
        )
        runs |= dict(zip(missing, read, strict=True))
        with self._lock:
            for at in missing:
                if len(runs[at]) < self._runs.maxsize:
                    self._runs[at] = runs[at]
        return runs


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


def _number(value: bytes) -> int:
    return int(_PLACE.unpack_from(value)[0])


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode()


def _size_of_head(head: Head) -> int:
    return 200 + 4 * len(head.ends)


assert _BY.size <= VALUE_BYTES
