"""The manifest of a submission pack: its changesets as one JSON blob, the last object of the pack. Pure.

A manifest is immutable, so copies of it may be kept anywhere; the one in the bucket is the truth. Paths are texts,
as in entries (storage/log/records.py). Format 1. Readers must read every format that was ever written.

A move of a file is two changes: the path that it leaves is deleted, and the `move` says where the file went. So who
looks at the paths of a changeset sees both. A version that knows no moves refuses a manifest that has one, as one that
knows UTF-8 alone refuses the change of any other path.
"""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from storage.base.errors import Corrupt
from storage.base.ids import ChangesetId, ObjectId, PackId, SliceId
from storage.git.objects import Ident, Version
from storage.git.packs import PackRange
from storage.git.paths import is_text, raw_path, recorded_path
from storage.git.threeway import Strategy
from storage.log.records import Pushed, RecordedChange, Submitter

FORMAT = 1
_MOVE_FIELDS = 4


class CorruptManifest(Corrupt):
    """A submission pack's manifest cannot be read."""


Op = Literal["put", "delete", "mode", "move"]


class Proposal(msgspec.Struct, frozen=True):
    """One change of a changeset, as its writer submitted it."""

    op: Op
    path: bytes
    mode: int  # of a put or mode; 0 for a delete, and for a move that leaves the mode as it is
    oid: ObjectId | None = None  # the blob or submodule commit that is put; None for a move of what stood there
    range: PackRange | None = None  # where the submission pack has the blob
    base: ObjectId | None = None  # with a base by versions: the id seen, None where the file did not exist
    strategy: Strategy = Strategy.MERGE
    base_mode: int | None = None  # the mode seen beside `base`, where it is known
    source: bytes | None = None  # of a move: the path that the file leaves, which another change deletes

    @property
    def seen_at(self) -> bytes:
        """The path at which the writer saw the file that is changed."""
        return self.path if self.source is None else self.source

    def recorded(self) -> RecordedChange:
        """Return the change as its changeset's entry records it."""
        oid = self.oid.hex() if self.oid else None
        if self.source is None:
            return RecordedChange(recorded_path(self.path), self.mode, oid, *(self.range or ()))
        offset, length, size = self.range or (None, None, None)
        return RecordedChange(
            recorded_path(self.path), self.mode, oid, offset, length, size, recorded_path(self.source)
        )

    def version(self, base: Version | None) -> Version | None:
        """Return what the writer wants at the path, who saw `base` at `seen_at`; None where it should be absent."""
        if self.op == "delete":
            return None
        if self.op == "move":
            return Version(self.mode or base.mode, self.oid or base.oid) if base else None
        if self.op == "mode":
            return Version(self.mode, base.oid) if base else None
        assert self.oid is not None
        return Version(self.mode, self.oid)


class Changeset(msgspec.Struct, frozen=True, kw_only=True):
    """A changeset as it stands in its submission pack."""

    id: ChangesetId
    pack: PackId
    slice: SliceId
    base_commit: ObjectId | None = None  # exactly one of the first two, or neither: a base by versions
    base_changeset: ChangesetId | None = None
    author: Ident
    message: str
    changes: tuple[Proposal, ...]
    key: str | None = None  # the idempotency key
    fingerprint: str = ""  # with a key: what tells a repeat from another request
    hold: bool = False  # not committed before it is released
    resolves: ChangesetId | None = None  # the conflicted changeset whose place it takes
    by: Submitter | None = None  # None: it was accepted while there were no tokens
    trace: str | None = None  # the W3C traceparent of the request that submitted it, where that is traced
    priority: int = 0  # from -100 to 100; the higher, the sooner it is claimed
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    pushed: Pushed | None = None  # the commit that it was, where it came by Git

    @property
    def base_versions(self) -> bool:
        """Whether each change says what its writer saw."""
        return self.base_commit is None and self.base_changeset is None

    @property
    def names_bytes(self) -> bool:
        """Whether it changes a path that is not UTF-8."""
        return not all(each.path.isascii() or is_text(recorded_path(each.path)) for each in self.changes)

    @property
    def size(self) -> int:
        """Bytes of the contents that its submission pack has for it."""
        return sum(change.range.size for change in self.changes if change.range)


def encode(changeset: Changeset) -> bytes:
    """Return one changeset's part of a manifest."""
    author = changeset.author
    record: dict[str, Any] = {
        "id": changeset.id,
        "slice": changeset.slice,
        "author": [author.name, author.email, author.time, author.zone],
        "message": changeset.message,
        "changes": [_encode_change(change) for change in changeset.changes],
    }
    if changeset.base_commit:
        record["base_commit"] = changeset.base_commit.hex()
    if changeset.base_changeset:
        record["base_changeset"] = changeset.base_changeset
    if changeset.key:
        record |= {"key": changeset.key, "fingerprint": changeset.fingerprint}
    if changeset.hold:
        record["hold"] = True
    if changeset.resolves:
        record["resolves"] = changeset.resolves
    if changeset.by:
        record["by"] = changeset.by
    if changeset.trace:
        record["trace"] = changeset.trace
    if changeset.priority:
        record["priority"] = changeset.priority
    if changeset.labels:
        record["labels"] = changeset.labels
    if changeset.pushed:
        record["pushed"] = changeset.pushed
    return msgspec.json.encode(record)


def _encode_change(change: Proposal) -> list[Any]:
    if change.source is not None:
        # So short that a version that knows no moves refuses it.
        more = [change.strategy, change.oid.hex() if change.oid else None, list(change.range) if change.range else None]
        return [change.op, recorded_path(change.path), change.mode, [recorded_path(change.source), *more]]
    path = recorded_path(change.path)
    encoded: list[Any] = [
        change.op,
        path,
        change.mode,
        change.oid.hex() if change.oid else None,
        list(change.range) if change.range else None,
        change.base.hex() if change.base else None,
    ]
    if change.base_mode is not None:
        encoded += [change.strategy, change.base_mode]
    elif change.strategy != Strategy.MERGE:
        encoded.append(change.strategy)
    # As short as that of a move, for the same reason.
    return encoded if is_text(path) else [encoded]


def decode(data: bytes | str, pack: PackId) -> Changeset:
    """Read what `encode` wrote for a changeset of `pack`. Raises CorruptManifest where it is something else."""
    try:
        record = msgspec.json.decode(data)
        name, email, time, zone = record["author"]
        commit = record.get("base_commit")
        return Changeset(
            id=record["id"],
            pack=pack,
            slice=record["slice"],
            base_commit=ObjectId(bytes.fromhex(commit)) if commit else None,
            base_changeset=record.get("base_changeset"),
            author=Ident(name, email, time, zone),
            message=record["message"],
            changes=tuple([_decode_change(change) for change in record["changes"]]),
            key=record.get("key"),
            fingerprint=record.get("fingerprint", ""),
            hold=record.get("hold", False),
            resolves=record.get("resolves"),
            by=msgspec.convert(record["by"], Submitter) if "by" in record else None,
            trace=record.get("trace"),
            priority=record.get("priority", 0),
            labels=record.get("labels", {}),
            pushed=msgspec.convert(record["pushed"], Pushed) if "pushed" in record else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptManifest(f"{pack} has a manifest that cannot be read") from error


def _decode_change(change: list[Any]) -> Proposal:
    if len(change) == _MOVE_FIELDS:
        return _decode_move(*change)
    if len(change) == 1:
        [change] = change
    op, path, mode, oid, bounds, base, *more = change
    return Proposal(
        op,
        raw_path(path),
        mode,
        oid=ObjectId(bytes.fromhex(oid)) if oid else None,
        range=PackRange(*bounds) if bounds else None,
        base=ObjectId(bytes.fromhex(base)) if base else None,
        strategy=Strategy(more[0]) if more else Strategy.MERGE,
        base_mode=more[1] if len(more) > 1 else None,
    )


def _decode_move(op: Op, path: str, mode: int, details: list[Any]) -> Proposal:
    source, strategy, oid, bounds = details
    return Proposal(
        op,
        raw_path(path),
        mode,
        oid=ObjectId(bytes.fromhex(oid)) if oid else None,
        range=PackRange(*bounds) if bounds else None,
        strategy=Strategy(strategy),
        source=raw_path(source),
    )


def join(parts: list[bytes]) -> bytes:
    """Return the manifest of a pack from its changesets' parts."""
    return b'{"format":%d,"changesets":[\n%s\n]}' % (FORMAT, b",\n".join(parts))


def split(manifest: bytes, pack: PackId) -> Iterator[Changeset]:
    """Yield the changesets of a pack's manifest. Raises CorruptManifest, also for an unknown format."""
    head, _, body = manifest.partition(b"\n")
    if head != b'{"format":%d,"changesets":[' % FORMAT or not body.endswith(b"\n]}"):
        raise CorruptManifest(f"{pack} has a manifest of an unknown format")
    # JSON has no raw newline inside a value, so a line is a changeset.
    for line in body[:-3].split(b"\n"):
        yield decode(line.removesuffix(b","), pack)
