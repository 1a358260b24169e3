"""Storing a pack before an entry names it, and the entry that begins a log."""

from storage.backends.bucket import Bucket
from storage.base.ids import ObjectId, PackId, Seq, new_ulid
from storage.git.objects import EMPTY_TREE, Commit, Ident, Kind, object_id
from storage.git.packs import PackWriter
from storage.log.entry import NO_HASH, Genesis, encode, placed
from storage.log.log import Log

# Deflating trees hardly shrinks them, since ids are noise, nor commits, which are short; it takes longer than linking.
_LEVELS = {Kind.TREE: 0, Kind.COMMIT: 0, Kind.BLOB: 1, Kind.TAG: 0}


def pack_of(objects: dict[ObjectId, tuple[Kind, bytes]]) -> PackWriter:
    """Return a pack of these objects."""
    writer = PackWriter()
    for oid, (kind, data) in objects.items():
        writer.add(kind, data, oid, _LEVELS[kind])
    return writer


def store_pack(bucket: Bucket, writer: PackWriter) -> tuple[PackId, int]:
    """Store a pack and its index, both before an entry may name them; return its name and size. Raises BucketError."""
    pack, size, files = files_of(writer)
    bucket.map_concurrently(lambda file: bucket.put_verified(*file), files)
    return pack, size


def files_of(writer: PackWriter) -> tuple[PackId, int, list[tuple[str, bytes]]]:
    """Return the name and size of a new pack, and its two files by name."""
    pack, data = PackId(f"packs/{new_ulid()}"), writer.finish()
    return pack, len(data), [(pack + ".pack", data), (pack + ".idx", writer.index())]


def create_genesis(log: Log, bucket: Bucket, committer: Ident) -> None:
    """Begin the log with its first entry unless somebody has: an empty commit, which the chain grows from."""
    if log.read(1) is not None:
        return
    data = Commit(EMPTY_TREE, (), committer, committer, "Begin\n").encode()
    commit = object_id(Kind.COMMIT, data)
    pack, size = store_pack(bucket, pack_of({EMPTY_TREE: (Kind.TREE, b""), commit: (Kind.COMMIT, data)}))
    entry = Genesis(commit=commit.hex(), tree=EMPTY_TREE.hex(), time=committer.time, packs=((pack, size),))
    log.append(1, encode(placed(entry, Seq(1), NO_HASH, new_ulid())))
