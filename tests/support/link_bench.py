"""Batches linked on trees in memory: changesets of three blobs, and commits that stand for their trees."""

from __future__ import annotations

from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.commit.link import BatchSources, Linked, Linker
from storage.commit.prove import prove
from storage.git.objects import FILE_MODE, SYMLINK_MODE, Ident, Kind, Version, object_id
from storage.git.trees import walk
from storage.log.entry import NO_HASH
from storage.log.manifest import Changeset, Proposal
from storage.lookup.content_merges import ContentMerges
from storage.view.snapshot import Head, Slice, Snapshot
from tests.support.trees import Trees

ADA = Ident("Ada", "ada@example.org", 1)
COMMITTER = Ident("Sluice", "sluice@localhost", 50)
ALL = Slice("all", "all", frozenset([b"/"]), 1)
A, B, C = (object_id(Kind.BLOB, content) for content in (b"A", b"B", b"C"))
BASE = ObjectId(b"b" * 20)
FILE, LINK = Version(FILE_MODE, A), Version(SYMLINK_MODE, A)


class LinkBench:
    """Trees, and commits that stand for their trees."""

    def __init__(self, files: dict[bytes, Version]) -> None:
        self.trees = Trees()
        self.root = self.trees.build(files)
        self.blobs = {object_id(Kind.BLOB, content): content for content in (b"A", b"B", b"C")}
        self.merge = ContentMerges(Settings())
        self.changes: dict[str, tuple[Proposal, ...]] = {}  # of all changesets that were linked

    def put_blob(self, content: bytes) -> ObjectId:
        oid = object_id(Kind.BLOB, content)
        self.blobs[oid] = content
        return oid

    def link(
        self,
        changesets,
        bases=None,
        outcomes=None,
        slices=None,
        keys=None,
        tip_time=0,
        max_bytes=None,
        enough=lambda: False,
        closed=None,
    ) -> Linked:
        head = Head(1, NO_HASH, "00" * 20, tip_time, self.root.hex(), "00" * 20, self.root.hex(), 0, 1, 1, 0, 0)
        slices = {"all": ALL} if slices is None else slices
        snapshot = Snapshot("e", head, slices, outcomes or {}, keys or {}, closed=closed or {})
        bases = bases or {}
        linker = Linker(
            snapshot,
            BatchSources(
                tree=self.trees.read,
                commit_tree=bases.get,
                outcome=lambda changeset: (outcomes or {}).get(changeset),
                changes=lambda changeset, outcome: self.changes[changeset],
                blob=lambda oid, location: self.blobs[oid],
                merge=self.merge,
            ),
            committer=COMMITTER,
            max_bytes=max_bytes,
            enough=enough,
        )
        self.changes |= {changeset.id: changeset.changes for changeset in changesets}
        linked = linker.run(changesets)
        self.trees.update({oid: data for oid, (kind, data) in linked.objects.items() if kind == Kind.TREE})
        prove(self.trees.read, self.root, linked.root, linked.net)
        return linked

    def files(self, linked: Linked) -> dict[bytes, Version]:
        return dict(walk(self.trees.read, linked.root))


def put(path: bytes, oid: ObjectId, mode: int = FILE_MODE, base: ObjectId | None = None) -> Proposal:
    return Proposal("put", path, mode, oid=oid, base=base)


def delete(path: bytes, base: ObjectId | None = None) -> Proposal:
    return Proposal("delete", path, 0, base=base)


def chmod(path: bytes, mode: int) -> Proposal:
    return Proposal("mode", path, mode)


def changeset(name, *changes, on=BASE, key=None, where="all") -> Changeset:
    commit = on if isinstance(on, bytes) else None
    return Changeset(
        id=name,
        pack="inbox/p-1",
        slice=where,
        base_commit=commit,
        base_changeset=on if isinstance(on, str) else None,
        author=ADA,
        message="m",
        changes=changes,
        key=key,
        fingerprint="f",
    )
