"""Samples of what is persisted beside the log's entries: one of each kind, in tests/testdata/persisted.

`python -m tests.support.persisted` writes those that are not there. One that is there is never written again: a version
of Sluice wrote it, and every later one reads it. A new format gets a sample of its own, under another name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from app.admin.backup import Manifest, Sum
from app.folder import folder_base
from app.folder.folder_base import FolderBase, Submitted
from app.stack import state
from app.stack.state import State
from storage.base.ids import ChangesetId, ObjectId, PackId, Seq, SliceId
from storage.clones import checkpoints, id_table
from storage.git.objects import UNKNOWN_MODE, Ident
from storage.git.packs import Location, PackRange
from storage.git.threeway import Strategy
from storage.log import entry_bundles, manifest
from storage.log.log import follow
from storage.log.manifest import Changeset, Proposal
from storage.log.records import Pushed
from storage.lookup import archive, tables
from storage.view import segments
from storage.view.rows import Forgotten

TESTDATA = Path(__file__).parents[1] / "testdata"
FOLDER = TESTDATA / "persisted"
ENTRIES = (
    "genesis", "slices", "commits", "merge", "release", "commits-2", "close", "slices-2", "condemn", "compact",
    "commits-3",
)  # fmt: skip
PACK = PackId("inbox/01ARZ3NDEKTSV4RRFFQ69G5FAV-3")


def ulid(last: str) -> str:
    """Return the ULID of the entries' samples that ends so."""
    return "01ARZ3NDEKTSV4RRFFQ69G5F" + last


def oid(digit: str) -> ObjectId:
    """Return an object's id that is easily recognized."""
    return ObjectId(bytes.fromhex(digit * 40))


def entries() -> list[tuple[Seq, bytes]]:
    """Return the log that the entries' samples make."""
    return [(Seq(seq), (TESTDATA / "entries" / f"v1-{name}.json").read_bytes()) for seq, name in enumerate(ENTRIES, 1)]


def published() -> tuple[Seq, bytes]:
    """Return the entry behind these, of format 2."""
    return Seq(len(ENTRIES) + 1), (TESTDATA / "entries" / "v2-commits.json").read_bytes()


def access() -> tuple[Seq, bytes]:
    """Return the entry behind that, of format 3."""
    return Seq(len(ENTRIES) + 2), (TESTDATA / "entries" / "v3-access.json").read_bytes()


def quotas() -> tuple[Seq, bytes]:
    """Return the entry behind that, of format 4: a policy with quotas."""
    return Seq(len(ENTRIES) + 3), (TESTDATA / "entries" / "v4-quotas.json").read_bytes()


def with_actors() -> list[tuple[Seq, bytes]]:
    """Return the entries behind that, of format 4: each kind that names who had it made."""
    kinds = ("slices", "commits", "release", "close", "asked")
    first = len(ENTRIES) + 3
    return [
        (Seq(seq), (TESTDATA / "entries" / f"v4-actor-{kind}.json").read_bytes())
        for seq, kind in enumerate(kinds, first)
    ]


def identities() -> tuple[Seq, bytes]:
    """Return the entry behind these, of format 4 too: a policy with identities."""
    return Seq(len(ENTRIES) + 3 + len(with_actors())), (TESTDATA / "entries" / "v4-identities.json").read_bytes()


def moves() -> tuple[Seq, bytes]:
    """Return an entry of format 5, behind that of format 2: changesets that move files, and follow them."""
    return Seq(len(ENTRIES) + 2), (TESTDATA / "entries" / "v5-moves.json").read_bytes()


def bytes_in_paths() -> tuple[Seq, bytes]:
    """Return an entry of changesets with paths that are not UTF-8, behind that of format 2, of format 5."""
    return Seq(len(ENTRIES) + 2), (TESTDATA / "entries" / "v5-bytes.json").read_bytes()


def webhooks() -> tuple[Seq, bytes]:
    """Return an entry of webhooks, behind those."""
    return Seq(len(ENTRIES) + 3), (TESTDATA / "entries" / "v4-webhooks.json").read_bytes()


def tags() -> tuple[Seq, bytes]:
    """Return an entry of tags, behind that, of format 5."""
    return Seq(len(ENTRIES) + 4), (TESTDATA / "entries" / "v5-tags.json").read_bytes()


def moving() -> list[Changeset]:
    """Return a changeset that moves files: one as it is, one with another mode, and one with another content."""
    return [
        Changeset(
            id=ChangesetId(ulid("AV")), pack=PACK, slice=SliceId(ulid("A3")), base_commit=oid("1"),
            author=Ident("A. Author", "author@example.org", 1700000000, 0), message="moves\n",
            changes=(
                Proposal("move", "b/ä".encode(), 0, source=b"a"),
                Proposal("move", b"run", 0o100755, source=b"walk", strategy=Strategy.THEIRS),
                Proposal("move", b"new", 0, oid=oid("a"), range=PackRange(12, 34, 56), source=b"old"),
                Proposal("delete", b"a", 0), Proposal("delete", b"walk", 0), Proposal("delete", b"old", 0),
            ),
        )
    ]  # fmt: skip


def imported() -> tuple[Seq, bytes]:
    """Return an entry of an import, behind that."""
    return Seq(len(ENTRIES) + 5), (TESTDATA / "entries" / "v5-import.json").read_bytes()


def pushed() -> tuple[Seq, bytes]:
    """Return an entry of changesets that were pushed as commits, behind the entry of format 3."""
    return Seq(len(ENTRIES) + 3), (TESTDATA / "entries" / "v5-pushed.json").read_bytes()


def pushed_changesets() -> list[Changeset]:
    """Return changesets that came as commits: in UTF-8, and in another encoding."""
    author, lines = Ident("Ä", "a@example.org", 1700000000, 60), "Ä <a@example.org> 1700000000 +0100"
    made = [
        Pushed.of(oid("1"), lines.encode(), lines.encode(), "Grüße\n\n\n".encode()),
        Pushed.of(oid("2"), lines.encode("latin-1"), lines.encode("latin-1"), b"Gr\xfc\xdfe\n", b"ISO-8859-1"),
    ]
    return [
        Changeset(
            id=ChangesetId(ulid(last)), pack=PACK, slice=SliceId(ulid("A3")), base_commit=oid("3"), author=author,
            message="Grüße\n", changes=(Proposal("delete", b"gone", 0),), pushed=each,
        )
        for last, each in zip(("AV", "AW"), made, strict=True)
    ]  # fmt: skip


def mirrors() -> tuple[Seq, bytes]:
    """Return an entry of mirrors, in the same place, of format 5."""
    return Seq(len(ENTRIES) + 4), (TESTDATA / "entries" / "v5-mirrors.json").read_bytes()


def changesets() -> list[Changeset]:
    """Return changesets that have, together, every field of a manifest."""
    put = Proposal("put", "a/ä".encode(), 0o100644, oid=oid("a"), range=PackRange(12, 34, 56))
    shared = Proposal("put", b"shared", 0o120000, oid=oid("b"))
    taken = Proposal(
        "put", b't"\\\n', 0o100755, oid=oid("c"), range=PackRange(46, 7, 8), base=oid("d"), strategy=Strategy.THEIRS
    )
    known = Proposal("put", b"known", 0o100644, oid=oid("e"), base=oid("f"), base_mode=UNKNOWN_MODE)
    author = Ident("Ä. Author", "author@example.org", 1700000000, -90)
    return [
        Changeset(
            id=ChangesetId(ulid("AV")), pack=PACK, slice=SliceId(ulid("A3")), base_commit=oid("1"),
            base_changeset=None, author=author, message="one\n\nwith \u2028 and \x7f\n",
            changes=(put, shared, Proposal("mode", b"run", 0o100755)), key="k", fingerprint="f",
        ),
        Changeset(
            id=ChangesetId(ulid("AW")), pack=PACK, slice=SliceId(ulid("A3")), base_commit=None,
            base_changeset=ChangesetId(ulid("AV")), author=author, message="two",
            changes=(Proposal("delete", b"gone", 0),), hold=True,
        ),
        Changeset(
            id=ChangesetId(ulid("AX")), pack=PACK, slice=SliceId(ulid("A3")), base_commit=None, base_changeset=None,
            author=author, message="three", changes=(taken, known), resolves=ChangesetId(ulid("AU")),
        ),
    ]  # fmt: skip


def rows() -> dict[bytes, bytes]:
    """Return a row of each kind that tables have."""
    return dict(
        [
            archive.object_row(oid("a"), Location(PACK, PackRange(12, 34, 56))),
            archive.POSITIONS.row(ulid("AV"), 3 << 13),
            archive.CLOSED_BY.row(ulid("AX"), ulid("C2")),
            archive.GLOBAL_COMMITS.row("2" * 40, 4),
            archive.MANIFESTS.row(PACK, Location(PackId(f"packs/{ulid('E0')}"), PackRange(90, 12, 34))),
        ]
    )


def segment() -> segments.Segment:
    """Return the segment of the entries' samples, the last of which has the view forget the first."""
    followed = list(follow(iter(entries())))
    forgotten = Forgotten(history=followed[:4], keys=followed[:3], objects=oid("b"))
    brought = {oid("a"): Location(PackId(f"packs/{ulid('A5')}"), PackRange(12, 34, 56))}
    return segments.make(
        (entry, entry_hash, brought if seq == 3 else {}, forgotten if seq == len(followed) else Forgotten())
        for seq, (entry, entry_hash) in enumerate(followed, 1)
    )


def bundle() -> list[bytes]:
    """Return as many entries as a bundle has."""
    return [entries()[number % len(ENTRIES)][1] for number in range(entry_bundles.RUN)]


BACKUP = Manifest(
    "main", 4, "ab" * 32, "2026-11-26T10:00:00Z",
    {"log/000000000001.json": Sum(300, "cd" * 32), f"{PACK}.pack": Sum(56, "ef" * 32)},
)  # fmt: skip
CHECKPOINT = checkpoints.Manifest(
    format=2,
    state=id_table.State(
        seq=Seq(12), hash="ab" * 32, tip="1" * 40, main="2" * 40, version=3, paths=("a/ä/".encode(), b"b")
    ),
    count=2, pack=(checkpoints.Part(f"projections/2/{ulid('A3')}/{ulid('E1')}.pack-000000", 56, "cd" * 32),),
    rows=(checkpoints.Part(f"projections/2/{ulid('A3')}/{ulid('E1')}.rows-000000", 34, "ef" * 32),),
    tags={"v1": "3" * 40},
)  # fmt: skip
STATE = State("minio", "access", "secret", "flower", [8000, 8001])
BASE = FolderBase(
    slice=ulid("A3"), paths=["/"], commit="1" * 40, head=None, changeset=ulid("AV"),
    files={"ä": {"mode": "100644", "id": "a" * 40}, "gone": None},
    submitted=[Submitted(ulid("AW"), {"b": {"mode": "100755", "id": "b" * 40}})],
)  # fmt: skip


def _in_a_folder(write: Callable[[Path], None], name: str) -> bytes:
    with TemporaryDirectory() as folder:
        write(Path(folder))
        return (Path(folder) / name).read_bytes()


def samples() -> Iterator[tuple[str, bytes]]:
    """Yield each kind's file with what this version writes."""
    yield "v1.manifest", manifest.join([manifest.encode(changeset) for changeset in changesets()])
    yield "v1-moves.manifest", manifest.join([manifest.encode(changeset) for changeset in moving()])
    yield "v1-pushed.manifest", manifest.join([manifest.encode(changeset) for changeset in pushed_changesets()])
    yield "v1.table", tables.encode(rows())
    yield "v1.roll", entry_bundles.encode(bundle())
    yield "v4.3.segment", segments.encode(segment())
    yield "v2-clone-checkpoint.json", checkpoints.encode(CHECKPOINT)
    yield "v1-backup.jsonl", BACKUP.encode()
    yield "v1-stack.json", _in_a_folder(lambda folder: state.save(folder, STATE), "stack.json")
    yield "v1-sluice-base.json", _in_a_folder(lambda folder: folder_base.write(folder, BASE), folder_base.FILE)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, data in samples():
        if not (FOLDER / name).exists():
            (FOLDER / name).write_bytes(data)
