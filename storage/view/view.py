"""The view: what Redis knows of the log up to `applied`, a pure function of the log (invariant 4).

Its keys begin with an epoch, and a pointer names the published epoch. Loading the view again fills a new epoch, which
is then published by compare-and-set. docs/architecture.md lists the keys.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from msgspec.json import Decoder

from storage.backends.redis_memory import delete_all
from storage.base.batched import batched
from storage.base.ids import ChangesetId, ObjectId, PackId, Seq, SliceId, bytes_of, new_ulid, text_of
from storage.git.packs import Location, PackRange
from storage.log.entry import Definition, Entry, GlobalCommit, TableRow, decode_global_commit
from storage.log.records import decode_outcome
from storage.view.cursors import Cursor, CursorName
from storage.view.lists import Lists
from storage.view.rows import NOTHING_FORGOTTEN, Effects, Forgotten, effects
from storage.view.snapshot import Head, Slice, Snapshot, head_of

# A loader says four times as often that it is at work; one that was silent so long (ms) is dead, or may as well be.
_SILENT_LOADER = 2_500
# Keys, members or fields of one command inside `apply`: one or two arguments each; Lua's stack holds 8,000.
_ARGUMENTS = 500
_INDEX_ROWS = 10_000
# Count of changesets in a submission pack (0: a pack of packs/), ULID; then offset, stored length, size.
_PACK = struct.Struct(">H16s")
_RANGE = struct.Struct(">III")


# What `entries.effects` makes of an entry has changed: a view of another format is loaded anew.
FORMAT = 4


def prefixes(name: str) -> list[str]:
    """Return the names that would stand above a slice's as refs, from the first on, and itself."""
    parts = name.split("/")
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def new_epoch() -> str:
    """Return a new epoch, which says the format of its view."""
    return f"{FORMAT}-{new_ulid()}"


def is_current(epoch: str) -> bool:
    """Tell whether an epoch's view has all that this version makes of entries."""
    return epoch.startswith(f"{FORMAT}-")


class View(Lists):
    """The view of one repository's log."""

    def head(self) -> Head:
        """Return the view's head. Raises ViewAbsent."""
        return self.snapshot().head

    def snapshot(
        self, changesets: Iterable[str] = (), slices: Iterable[str] = (), keys: Iterable[str] = ()
    ) -> Snapshot:
        """Return one instant of the view, in one call. Raises ViewAbsent."""
        wanted = [list(dict.fromkeys(ids)) for ids in (changesets, slices, keys)]
        args = [item for ids in wanted for item in (len(ids), *ids)]
        epoch, head, outcomes, definitions, owners, passed_by, run, closed = self.scripts("snapshot", *args)
        return Snapshot(
            epoch=epoch.decode(),
            head=head_of(head),
            outcomes={ChangesetId(i): decode_outcome(o) for i, o in zip(wanted[0], outcomes, strict=True) if o},
            slices={SliceId(i): decode_slice(d) for i, d in zip(wanted[1], definitions, strict=True) if d},
            keys={k: ChangesetId(o.decode().split(" ")[0]) for k, o in zip(wanted[2], owners, strict=True) if o},
            undecided=frozenset(ChangesetId(i) for i, left in zip(wanted[0], passed_by, strict=True) if left),
            run=run.decode(),
            closed={ChangesetId(i): by.decode() for i, by in zip(wanted[0], closed, strict=True) if by},
        )

    def apply(
        self,
        epoch: str,
        entry: Entry,
        entry_hash: str,
        locations: Mapping[ObjectId, Location] | None = None,
        published: bool = True,
        pipeline: Any = None,
        forgotten: Forgotten = NOTHING_FORGOTTEN,
    ) -> None:
        """Apply an entry that is confirmed to be in the log, with where the objects stand that it brings.

        A compaction needs to be given what it has the view forget.

        In one call: a Redis that loses what it took between two would know the entry and not its objects, for good.
        Raises ViewStale where another epoch is published or entries before it are missing, LogForked where the view
        followed another log.
        """
        args: list[Any] = [epoch, int(published), entry.seq, entry.previous]
        for command in chain(index(locations or {}), commands(effects(entry, entry_hash, forgotten))):
            args += [len(command) - 2, *command]
        self.scripts("apply", *args, pipeline=pipeline)

    def locate(self, oids: Sequence[ObjectId]) -> list[Location | None]:
        """Return where objects are stored, None for those that are not. Raises ViewAbsent."""
        return [decode_location(row) if row else None for row in self.scripts("locate", b"".join(oids))]

    def cursor(self, name: CursorName) -> Cursor:
        """Return how far one of those who go through the bucket has come."""
        return Cursor(self, name)

    def slice(self, name_or_id: str) -> Slice | None:
        """Return a slice by its id or its name, None where there is none. Raises ViewAbsent."""
        return self.slice_at(name_or_id)[0]

    def slice_at(self, name_or_id: str) -> tuple[Slice | None, Seq]:
        """Return a slice as `slice` does, and the entry that the view had applied then, by one call.

        Raises ViewAbsent.
        """
        applied, row = self.scripts("slice", name_or_id)
        return decode_slice(row) if row else None, Seq(int(applied))

    def slices(self, ids: Sequence[str]) -> list[Slice]:
        """Return the slices with these ids, without those that are gone."""
        rows = self.redis.hmget(self.key("slices"), ids) if ids else []
        return [decode_slice(row) for row in rows if row]

    def slices_named(self, names: Sequence[str]) -> list[Slice]:
        """Return the slices with these names, without those that are gone."""
        ids = self.redis.hmget(self.key("slice_ids"), names) if names else []
        return self.slices([slice_id.decode() for slice_id in ids if slice_id])

    def colliding_slices(self, names: Sequence[str]) -> dict[str, str]:
        """Return the names of slices with which some of these would collide as refs, by them.

        That is the name itself, one above it or one below it. Costs two calls of Redis for all names.
        """
        above = {name: prefixes(name) for name in names}
        asked = list(dict.fromkeys(chain.from_iterable(above.values())))
        pipeline = self.redis.pipeline(transaction=False)
        for some in batched(asked, _ARGUMENTS):
            pipeline.hmget(self.key("slice_ids"), some)
        taken = {
            name for name, slice_id in zip(asked, chain.from_iterable(pipeline.execute()), strict=True) if slice_id
        }
        order = self.key("slice_names")
        for name in names:
            pipeline.zrange(order, f"[{name}/", f"({name}0", bylex=True, offset=0, num=1)
        colliding = {}
        for name, below in zip(names, pipeline.execute(), strict=True):
            others = [prefix for prefix in above[name] if prefix in taken] + [other.decode() for other in below]
            if others:
                colliding[name] = others[0]
        return colliding

    def merge(self, commit: str) -> GlobalCommit | None:
        """Return a global commit as its entry has it, None where `commit` is none, or is archived."""
        seq = self.redis.hget(self.key("merge_seqs"), commit)
        rows = self._by_score("merges", int(seq), int(seq), 1) if seq else []
        return decode_global_commit(rows[0][0]) if rows else None  # archived in between

    def tables(self, known: int = -1) -> tuple[int, list[TableRow] | None]:
        """Return the last compaction and the archive's tables, None where it is the `known` one. Raises ViewAbsent."""
        compacted, listed = self.scripts("tables", known)
        if listed is None:
            return int(compacted), None
        rows = zip(listed[::2], listed[1::2], strict=True)
        return int(compacted), [TableRow(PackId(name.decode()), *map(int, row.split())) for name, row in rows]

    def count_root_mismatch(self) -> None:
        """Count a batch that was stopped since its new root was not the old one with its changes."""
        self.redis.incr(self.prefix + "root_mismatches")

    def root_mismatches(self) -> int:
        """Return how many were counted."""
        return int(self.redis.get(self.prefix + "root_mismatches") or 0)

    @property
    def applied_channel(self) -> str:
        """The channel on which every entry's number is published once the view has it."""
        return self.prefix + "applied"

    def values(self, epoch: str, rows: Iterable[tuple[str, str, Any]]) -> list[Any]:
        """Return what an epoch has now where `commands` set something, each given as command, key and member."""
        pipeline, base = self.redis.pipeline(transaction=False), f"{self.prefix}v:{epoch}:"
        for command, key, member in rows:
            match command:
                case "SET":
                    pipeline.get(base + key)
                case "ZADD":
                    pipeline.zscore(base + key, member)
                case "HSET":
                    pipeline.hget(base + key, member)
        return pipeline.execute()

    def begin_loading(self, epoch: str, before: str | None) -> bytes:
        """Note that `epoch` is being loaded from now on, to be published in place of `before`; return the run of Redis.

        Raises ViewLoading where somebody else is loading another, or has published one by now.
        """
        return bytes(self.scripts("loading", epoch, 1, _SILENT_LOADER, before or ""))

    def loading(self, epoch: str) -> None:
        """Say again that `epoch` is being loaded, lest its loader pass for dead. Raises ViewStale where it is gone."""
        self.scripts("loading", epoch, 0)

    def publish(self, expected: str | None, epoch: str, run: bytes = b"") -> bool:
        """Publish `epoch` if `expected` still is published and `epoch` is not dropped; tell whether it was.

        With `run` only in that run of Redis: a replica that took its place may lack a part of what was loaded.
        """
        return bool(self.scripts("publish", expected or "", epoch, run))

    def drop(self, epoch: str) -> None:
        """Delete an epoch unless it is published, some keys at a time; upkeep goes on where that is cut short."""
        if not self.scripts("retire", epoch):
            return
        delete_all(self.redis, f"{self.prefix}v:{epoch}:")
        self.redis.zrem(self.prefix + "epochs", epoch)

    def erase(self) -> None:
        """Delete everything that Redis has of the repository: view, queues and copies."""
        delete_all(self.redis, self.prefix)

    def forgotten(self, age: float) -> str | None:
        """Return an epoch that nobody has loaded, or gone on to drop, for `age` seconds, None where there is none."""
        published = self.epoch()
        latest = (self.redis.time()[0] - age) * 1000
        # At most one of two is the published one.
        epochs = self.redis.zrange(self.prefix + "epochs", "-inf", latest, byscore=True, offset=0, num=2)
        return next((epoch.decode() for epoch in epochs if epoch.decode() != published), None)


def commands(rows: Effects) -> Iterator[list[Any]]:
    """Yield the Redis commands that make these rows: removals first, the head last; keys are relative to the epoch."""
    yield from (["DEL", key] for key in rows.removed_strings)
    yield from (["FORGET", key, value] for key, value in rows.removed_firsts.items())
    for start in range(0, len(rows.unindexed), _INDEX_ROWS * 20):
        yield ["UNINDEX", "at:", rows.unindexed[start : start + _INDEX_ROWS * 20]]
    for key, names in rows.removed_fields.items():
        yield from (["HDEL", key, *chunk] for chunk in batched(names, _ARGUMENTS))
    for key, members in rows.removed_members.items():
        yield from (["ZREM", key, *chunk] for chunk in batched(members, _ARGUMENTS))
    for key, value in rows.strings.items():
        yield ["SET", key, value]
    for key, value in rows.firsts.items():
        yield ["SET", key, value, "NX"]
    for key, fields in rows.hashes.items():
        for chunk in batched(fields.items(), _ARGUMENTS):
            yield ["HSET", key, *(text for item in chunk for text in item)]
    for key, scores in rows.sorted_sets.items():
        if len(scores) == 1:  # as most that lists find changesets by
            [(member, score)] = scores.items()
            yield ["ZADD", key, score, member]
            continue
        for scored in batched(scores.items(), _ARGUMENTS):
            yield ["ZADD", key, *(text for member, score in scored for text in (score, member))]
    yield ["HSET", "head", *(text for item in rows.head.items() for text in item)]


def index(locations: Mapping[ObjectId, Location]) -> Iterator[list[Any]]:
    """Yield the commands of our scripts that remember where objects stand: rows of id and location, 50 bytes each."""
    for some in batched(locations.items(), _INDEX_ROWS):
        rows = b"".join([oid + encode_location(location) for oid, location in some])
        yield ["INDEX", "at:", rows]


_decode_definition = Decoder(Definition).decode


def decode_slice(data: bytes) -> Slice:
    """Read a slice as the view has it."""
    return slice_of(_decode_definition(data))


def slice_of(definition: Definition) -> Slice:
    """Build a Slice from its definition as entries have it."""
    return Slice(
        definition.id, definition.name, frozenset(path.encode() for path in definition.paths), definition.version
    )


def encode_location(location: Location) -> bytes:
    """Return a location as 30 bytes."""
    return _pack_bytes(location.pack) + _RANGE.pack(*location.range)


@lru_cache(maxsize=1024)
def _pack_bytes(pack: PackId) -> bytes:
    """Return a pack's name as 18 bytes; a batch's objects share one."""
    folder, _, name = pack.partition("/")
    ulid, _, count = name.partition("-")
    return _PACK.pack(int(count) if folder == "inbox" else 0, bytes_of(ulid))


def decode_location(row: bytes) -> Location:
    """Read what `encode_location` wrote."""
    return Location(_pack_id(row[: _PACK.size]), PackRange(*_RANGE.unpack_from(row, _PACK.size)))


@lru_cache(maxsize=1024)
def _pack_id(packed: bytes) -> PackId:
    """Return a pack's name from what `_pack_bytes` returned."""
    count, raw = _PACK.unpack(packed)
    ulid = text_of(raw)
    return PackId(f"inbox/{ulid}-{count}" if count else f"packs/{ulid}")
