"""Checkpoints of clone stores in the bucket, so that a store on an empty disk need not follow the whole log.

A checkpoint has one pack, in parts of bounded size, and the rows of the table of ids, at a settled entry of the log.
Its manifest is stored last, and names all of them with their sizes and hashes, and the hash of that entry: a checkpoint
whose entry is not the log's is passed by. It is derived data, which may be deleted at any moment: a store that finds
none follows the log, and makes the same commits.

The names begin with `projections/`, which neither garbage collection nor backup nor verification looks into. Who writes
a checkpoint deletes those before it once nobody can be reading them.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import pairwise
from typing import NamedTuple

import msgspec
import structlog

from storage.backends.bucket import Bucket, Missing
from storage.base.batched import batched
from storage.base.errors import Corrupt
from storage.base.ids import ObjectId, SliceId, is_ulid, new_ulid, oid_of
from storage.clones.git_store import GitStore
from storage.clones.id_table import FIRST, IdTable, Row, State
from storage.git.run_git import GitFailed
from storage.log.entry import digest
from storage.repository import Repository
from storage.view.snapshot import Slice

log = structlog.get_logger()

FORMAT = 2
_ALL = "projections/"
FOLDER = f"{_ALL}{FORMAT}/"
_PART_BYTES = 16 << 20
_ROW = struct.Struct(">q20s20s?")
_ROWS_TOGETHER = 1 << 16
_SLICES_TOGETHER = 1000
# A store has a checkpoint of at least 8 parts in 9 of its commits.
_SHARE = 8
_NAME = re.compile(r"([0-9]{12,})-([0-9]+)\.json")
# Checkpoints that are looked at, the newest first.
_TRIES = 3


class CheckpointDamaged(Corrupt):
    """A checkpoint's parts are not what its manifest says."""


class Part(NamedTuple):
    """An object in the bucket that has a part of a checkpoint."""

    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint has."""

    format: int
    state: State
    count: int  # of rows
    pack: tuple[Part, ...]  # one behind the other, they are one pack
    rows: tuple[Part, ...]
    tags: dict[str, str] = {}  # of the whole: their ids by name


class Stored(NamedTuple):
    """A checkpoint as its name tells of it."""

    seq: int
    version: int  # of the slice's definition
    name: str
    at: float  # when it was stored, by the store's clock


def folder_of(slice_id: SliceId | None) -> str:
    """Return the folder in the bucket with the checkpoints of a slice, or of the whole."""
    return f"{FOLDER}{slice_id or 'whole'}/"


def listed(bucket: Bucket, folder: str) -> list[Stored]:
    """Return the checkpoints in a folder, the oldest first. Raises BucketError."""
    found = []
    for name, at in bucket.listing(folder):
        if match := _NAME.fullmatch(name.removeprefix(folder)):
            found.append(Stored(int(match[1]), int(match[2]), name, at))
    return sorted(found)


def restore(repo: Repository, of: Slice | None, git: GitStore, table: IdTable, start: State) -> State | None:
    """Fill an empty store from the newest checkpoint that fits; return its state, None where none does.

    It fits if its definition is of the projection that begins with `start`, and not behind that of the slice. Raises
    Unavailable and sqlite3.Error.
    """
    folder, version = folder_of(of.id if of else None), of.version if of else 0
    fitting = [stored for stored in listed(repo.bucket, folder) if start.version <= stored.version <= version]
    for stored in fitting[: -_TRIES - 1 : -1]:
        try:
            manifest = _manifest(repo.bucket, stored)
            entry = repo.log.read(manifest.state.seq)
            if entry is None or digest(entry) != manifest.state.hash:
                raise CheckpointDamaged("the log has another entry there")
            git.add_pack(_read(repo.bucket, manifest.pack))
            rows = _checked(_rows(_read(repo.bucket, manifest.rows)), manifest.count, git)
            table.add(rows, manifest.state, tags={name: oid_of(oid) for name, oid in manifest.tags.items()})
        except (Missing, Corrupt, GitFailed) as error:
            log.warning("clone_checkpoint_unusable", name=stored.name, reason=str(error))
            continue
        table.note_checkpoint(manifest.count)
        return manifest.state
    return None


def is_due(repo: Repository, table: IdTable) -> bool:
    """Tell whether a store has so many more commits than the newest checkpoint that is known. Raises sqlite3.Error."""
    every = repo.settings.clone_checkpoint_commits
    return _is_due(table.count(), table.checkpointed(), every, table.has_import())


def write(repo: Repository, slice_id: SliceId | None, git: GitStore, table: IdTable) -> bool:
    """Write a checkpoint of a store where it is due, unless somebody else has; tell whether it did.

    The store may be written to meanwhile. Raises Unavailable, GitFailed and sqlite3.Error.
    """
    state, count, folder = table.state(), table.count(), folder_of(slice_id)
    every = repo.settings.clone_checkpoint_commits
    before = listed(repo.bucket, folder)
    fitting = [stored for stored in before if stored.version == state.version and stored.seq <= state.seq]
    known = _count(repo.bucket, fitting[-1]) if fitting else 0
    made = _is_due(count, known, every, table.has_import())
    if made:
        known = _store(repo.bucket, folder, git, table, state)
        log.info("clone_checkpoint_written", name=folder, seq=state.seq, commits=known)
        _delete_old(repo, folder)
    table.note_checkpoint(known)
    return made


def _count(bucket: Bucket, stored: Stored) -> int:
    """Return how many commits a checkpoint has, 0 where it is damaged or gone."""
    try:
        return _manifest(bucket, stored).count
    except (Missing, Corrupt) as error:
        log.warning("clone_checkpoint_unusable", name=stored.name, reason=str(error))
        return 0


def _is_due(count: int, known: int, every: int, has_import: bool) -> bool:
    # Of an imported history the smallest part costs a walk through all of it, and its packs.
    is_first = has_import and not known
    return every > 0 and (is_first or count - known >= max(every, count // _SHARE))


def _store(bucket: Bucket, folder: str, git: GitStore, table: IdTable, state: State) -> int:
    """Store a checkpoint at `state`; return how many rows it has."""
    last = table.at(state.end - 1)
    assert last is not None  # as many rows as make it due
    name = folder + new_ulid()
    tags, main = git.tags(), [oid_of(state.main)] if state.main else []
    pack = _put(bucket, f"{name}.pack", git.pack_of([last.own, *main, *tags.values()]))
    count = 0

    def packed() -> Iterator[bytes]:
        nonlocal count
        after = FIRST
        while rows := table.rows(after, state.end, _ROWS_TOGETHER):
            yield zlib.compress(b"".join([_ROW.pack(*row) for row in rows]))
            count, after = count + len(rows), rows[-1].position

    parts = tuple(_put_all(bucket, f"{name}.rows", packed()))
    manifest = Manifest(
        format=FORMAT,
        state=state,
        count=count,
        pack=tuple(pack),
        rows=parts,
        tags={name: oid.hex() for name, oid in tags.items()},
    )
    bucket.create(f"{folder}{state.seq:012d}-{state.version}.json", encode(manifest))
    return count


def _checked(rows: Iterable[Row], count: int, git: GitStore) -> Iterator[Row]:
    """Yield rows, and check behind the last one that they are those of the pack. Raises CheckpointDamaged."""
    number, last = 0, None
    for number, last in enumerate(rows, 1):  # noqa: B007 - both count behind the loop
        yield last
    if number != count or last is None or not git.has_commit(last.own):
        raise CheckpointDamaged("its rows are not those of its pack")


def _put(bucket: Bucket, name: str, stream: Iterable[bytes]) -> list[Part]:
    """Store a stream in parts of bounded size."""
    return list(_put_all(bucket, name, _sized(stream)))


def _sized(stream: Iterable[bytes]) -> Iterator[bytes]:
    held, size = [], 0
    for piece in stream:
        held.append(piece)
        size += len(piece)
        if size >= _PART_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _put_all(bucket: Bucket, name: str, parts: Iterable[bytes]) -> Iterator[Part]:
    for number, data in enumerate(parts):
        part = Part(f"{name}-{number:06d}", len(data), sha256(data).hexdigest())
        bucket.put_verified(part.name, data)
        yield part


def encode(manifest: Manifest) -> bytes:
    """Return the bytes of a manifest."""
    return msgspec.json.encode(manifest)


def decode(data: bytes) -> Manifest:
    """Read what `encode` wrote. Raises CheckpointDamaged."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise CheckpointDamaged("its manifest cannot be read") from error
    if manifest.format != FORMAT:
        raise CheckpointDamaged("its manifest is of an unknown format")
    return manifest


def _manifest(bucket: Bucket, stored: Stored) -> Manifest:
    manifest = decode(bucket.get(stored.name))
    if (manifest.state.seq, manifest.state.version) != (stored.seq, stored.version):
        raise CheckpointDamaged("its manifest is another one's")
    return manifest


def _read(bucket: Bucket, parts: Iterable[Part]) -> Iterator[bytes]:
    for part in parts:
        data = bucket.get(part.name)
        if len(data) != part.size or sha256(data).hexdigest() != part.sha256:
            raise CheckpointDamaged(f"{part.name} is damaged")
        yield data


def _rows(parts: Iterable[bytes]) -> Iterator[Row]:
    for part in parts:
        for position, chain, own, defined in _ROW.iter_unpack(zlib.decompress(part)):
            yield Row(position, ObjectId(chain), ObjectId(own), defined)


def _delete_old(repo: Repository, folder: str) -> None:
    """Delete checkpoints that were superseded long enough ago, and parts that no checkpoint names."""
    limit = repo.bucket.now() - repo.settings.gc_grace
    checkpoints = listed(repo.bucket, folder)
    # A reader may have chosen one until the next one was there.
    kept = [each for each, later in pairwise(checkpoints) if later.at > limit]
    kept += checkpoints[-1:]
    named = {each.name for each in kept}
    for each in kept:
        try:
            manifest = _manifest(repo.bucket, each)
        except (Missing, Corrupt) as error:
            log.warning("clone_checkpoint_unusable", name=each.name, reason=str(error))
            continue
        named |= {part.name for part in (*manifest.pack, *manifest.rows)}
    gone = [each.name for each in checkpoints if each.name not in named]
    gone += [name for name, at in repo.bucket.listing(folder) if at <= limit and name not in named and name not in gone]
    if gone:
        repo.bucket.delete(*gone)


def delete_forgotten(repo: Repository, dry_run: bool = False) -> list[str]:
    """Delete the checkpoints of deleted slices and of older formats, once nobody can be reading them.

    Returns their names. Raises Unavailable.
    """
    limit = repo.bucket.now() - repo.settings.gc_grace
    found: dict[SliceId, list[str]] = {}
    gone: list[str] = []
    for name, at in repo.bucket.listing(_ALL):
        written, _, rest = name.removeprefix(_ALL).partition("/")
        owner = rest.partition("/")[0]
        if at > limit or not written.isdigit():
            continue
        if int(written) < FORMAT:
            gone.append(name)
        elif int(written) == FORMAT and is_ulid(owner):
            found.setdefault(SliceId(owner), []).append(name)
    for some in batched(found, _SLICES_TOGETHER):
        there = {slice_.id for slice_ in repo.view.slices(some)}
        gone += [name for owner in some if owner not in there for name in found[owner]]
    if gone and not dry_run:
        repo.bucket.delete(*gone)
    return gone
