"""Encoding submissions for packs: blobs, each encoded once, and one manifest for all. Needs no server."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec import Struct

from app.protocol.changesets.submissions import ChangesetBase, CommitBase, ItemBase, Submission
from storage.backends.turns import LARGE, breathe, in_thread, in_thread_if_large
from storage.base.ids import ChangesetId, ObjectId, PackId, SliceId, consecutive, inbox_pack, new_ulid
from storage.git.objects import Ident, Kind, object_id
from storage.git.packs import PackRange, PackWriter, encode
from storage.log import manifest
from storage.log.manifest import Changeset, Proposal
from storage.log.records import Submitter

_LEVEL = 1


class Item(Struct, frozen=True, kw_only=True):
    """A valid submission on its way in: its slice's id, its blobs as packs store them, its key's fingerprint."""

    submission: Submission
    slice: SliceId
    author: Ident
    oids: tuple[ObjectId | None, ...]  # of each change
    blobs: dict[ObjectId, tuple[bytes, int]]  # stored bytes and size
    fingerprint: str = ""
    by: Submitter | None = None
    trace: str | None = None  # what leads to the request's span, where it is traced

    @classmethod
    def of(
        cls,
        submission: Submission,
        slice_id: SliceId,
        author: Ident,
        fingerprint: str = "",
        by: Submitter | None = None,
    ) -> Item:
        """Return a submission with the blobs of its contents; one put by id has none, since the log has it for good."""
        oids: list[ObjectId | None] = []
        blobs: dict[ObjectId, tuple[bytes, int]] = {}
        for change in submission.changes:
            breathe()
            oid = ObjectId(change.oid) if change.oid else None
            if change.content is not None:
                oid, stored = blob(change.content)
                blobs[oid] = stored
            oids.append(oid)
        return cls(
            submission=submission, slice=slice_id, author=author, oids=tuple(oids), blobs=blobs,
            fingerprint=fingerprint, by=by,
        )  # fmt: skip

    @property
    def size(self) -> int:
        """Bytes of its blobs in a pack."""
        return sum(len(stored) for stored, _ in self.blobs.values())


def blob(content: bytes) -> tuple[ObjectId, tuple[bytes, int]]:
    """Return a content's id, and the blob as packs store it; others run while a large one is compressed."""
    return in_thread_if_large(_blob, content)


def _blob(content: bytes) -> tuple[ObjectId, tuple[bytes, int]]:
    return object_id(Kind.BLOB, content), (encode(Kind.BLOB, content, _LEVEL), len(content))


def build(groups: Sequence[Sequence[Item]]) -> tuple[PackId, bytes, list[list[tuple[Changeset, bytes]]]]:
    """Build the submission pack of several requests; return its name, its bytes, and each request's changesets.

    Each changeset comes with its part of the manifest, which is the pack's last object.
    """
    writer = PackWriter()
    for group in groups:
        for item in group:
            for oid, (stored, size) in item.blobs.items():
                breathe()
                writer.add_encoded(oid, stored, size)
    count = sum(map(len, groups))
    first = new_ulid()
    pack, ids = inbox_pack(first, count), consecutive(first, count)
    made, at = [], 0
    for group in groups:
        own = ids[at : at + len(group)]
        coded = []
        for i, item in enumerate(group):
            breathe()
            changeset = _changeset(item, own[i], pack, own, writer.ranges)
            coded.append((changeset, manifest.encode(changeset)))
        made.append(coded)
        at += len(group)
    manifests = manifest.join([part for group in made for _, part in group])
    call = partial(_finished, writer, manifests)
    return pack, in_thread(call) if writer.size + len(manifests) > LARGE else call(), made


def _finished(writer: PackWriter, manifests: bytes) -> bytes:
    writer.add(Kind.BLOB, manifests, level=_LEVEL)
    return writer.finish()


def _changeset(
    item: Item, changeset_id: ChangesetId, pack: PackId, own: list[ChangesetId], ranges: dict[ObjectId, PackRange]
) -> Changeset:
    submission = item.submission
    base = submission.base
    base_changeset = own[base.position] if isinstance(base, ItemBase) else None
    if isinstance(base, ChangesetBase):
        base_changeset = ChangesetId(base.id)
    return Changeset(
        id=changeset_id,
        pack=pack,
        slice=item.slice,
        base_commit=ObjectId(base.oid) if isinstance(base, CommitBase) else None,
        base_changeset=base_changeset,
        author=item.author,
        message=submission.message,
        changes=tuple(
            [
                Proposal(
                    change.op,
                    change.path,
                    change.mode,
                    oid=oid,
                    range=ranges[oid] if oid in item.blobs else None,
                    base=ObjectId(change.base) if change.base else None,
                    strategy=change.strategy,
                    base_mode=change.base_mode,
                    source=change.source,
                )
                for change, oid in zip(submission.changes, item.oids, strict=True)
            ]
        ),
        key=submission.key,
        fingerprint=item.fingerprint,
        hold=submission.hold,
        resolves=ChangesetId(submission.resolves) if submission.resolves else None,
        by=item.by,
        trace=item.trace,
        priority=submission.priority,
        labels=submission.labels,
        pushed=submission.pushed,
    )
