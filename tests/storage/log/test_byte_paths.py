"""Paths that are not UTF-8 in manifests and entries: they come back, and older versions take none of them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from storage.base.ids import ChangesetId, ObjectId, PackId, SliceId
from storage.git.objects import Ident
from storage.git.packs import PackRange
from storage.git.paths import raw_path
from storage.git.threeway import Strategy
from storage.log import manifest
from storage.log.entry import GIT_FORMAT, Commits, decode, encode, placed
from storage.log.events import events_of
from storage.log.log import follow
from storage.log.manifest import Changeset, Proposal
from storage.log.records import Decided, Followed, Left, Moved, RecordedConflict, Status
from storage.projection.follow import changed_paths
from storage.view.rows import effects
from tests.support.persisted import bytes_in_paths, entries, published, ulid

PACK, OID = PackId("inbox/p-1"), ObjectId(b"\1" * 20)
LATIN = b"caf\xe9/na\xefve"
PATHS = st.binary(min_size=1, max_size=20).map(lambda path: path.replace(b"\0", b"\xff"))


def changeset(*changes: Proposal) -> Changeset:
    author = Ident("A", "a@example.org", 1_700_000_000, 0)
    return Changeset(
        id=ChangesetId(ulid("AV")), pack=PACK, slice=SliceId(ulid("A3")), base_commit=OID, author=author, message="m",
        changes=changes,
    )  # fmt: skip


@given(PATHS, PATHS)
def test_a_manifest_gives_every_path_back(path: bytes, source: bytes) -> None:
    made = changeset(
        Proposal("put", path, 0o100644, oid=OID, range=PackRange(1, 2, 3)),
        Proposal("delete", source, 0, base=OID, strategy=Strategy.THEIRS, base_mode=0o100755),
        Proposal("move", path + b"x", 0, source=source),
    )
    assert manifest.decode(manifest.encode(made), PACK) == made


def test_a_version_that_knows_utf8_alone_refuses_such_a_change() -> None:
    usual, other = json.loads(manifest.encode(changeset(Proposal("delete", b"a", 0), Proposal("delete", LATIN, 0))))[
        "changes"
    ]
    assert usual == ["delete", "a", 0, None, None, None], "as it always was"
    assert len(other) < len(usual), "which that version takes apart"


def decided(**more: object) -> Decided:
    made = {"id": ChangesetId(ulid("AV")), "slice": SliceId(ulid("A3")), "pack": PACK, "status": Status.COMMITTED}
    return Decided(**{**made, **more})  # type: ignore[arg-type]


def entry(record: Decided) -> Commits:
    return Commits(packs=(), decided=(record,), tip="1" * 40, root="2" * 40, time=1, committed=1)


def test_an_entry_that_names_such_a_path_has_the_format_that_can() -> None:
    text = Proposal("delete", LATIN, 0).recorded().path
    conflict = {"kind": "content", "base": None, "head": None, "submitted": None}
    for more in (
        {"changes": (Proposal("delete", LATIN, 0).recorded(),)},
        {"followed": (Followed.of(b"a", LATIN),)},
        {"conflicts": (RecordedConflict(path=text, **conflict),)},  # type: ignore[arg-type]
        {"conflicts": (RecordedConflict(path="a", blocker=text, **conflict),)},  # type: ignore[arg-type]
    ):
        made = placed(entry(decided(**more)), 5, "0" * 64, "w")  # type: ignore[arg-type]
        assert made.format == GIT_FORMAT and decode(encode(made)) == made
    for covers in (("ü",), (text,)):  # by whose text rights judge as by its bytes
        assert placed(entry(decided(covers=covers)), 5, "0" * 64, "w").format < GIT_FORMAT  # type: ignore[arg-type]


@given(PATHS, PATHS)
def test_records_of_moves_give_their_paths_back(source: bytes, path: bytes) -> None:
    moved = Moved.of(source, path, OID)
    assert Left.of(moved, 7) == Left(7, OID, path) and raw_path(moved.source) == source
    record = decided(changes=(Proposal("move", path, 0, source=source).recorded(),), moves=(moved,))
    record = decode(encode(placed(entry(record), 5, "0" * 64, "w"))).decided[0]  # type: ignore[union-attr]
    assert set(changed_paths(record)) == {source, path}
    assert record.changes[0].path == moved.path and record.changes[0].source == moved.source
    assert [raw_path(each) for each in Followed.of(source, path)] == [source, path]


def test_the_stored_example_is_read_for_ever() -> None:
    [*_, (made, entry_hash)] = follow(iter([*entries(), published(), bytes_in_paths()]))
    assert (made.format, encode(made)) == (5, bytes_in_paths()[1])
    assert entry_hash == "4235fcd0e17715e0c260c60ff7995f934cb3f7ba0cc22cc55c7af55bb81856a8"
    committed, conflicted = made.decided
    assert changed_paths(committed) == (b"caf\xe9", LATIN, b"old\xff", b"\xe9", b"\xff\xfe")
    assert raw_path(conflicted.conflicts[0].blocker or "") == LATIN
    rows = effects(made, entry_hash)
    assert "moved:\0b2xk_w" in rows.sorted_sets and "open_on:\0Y2Fm6Q" in rows.sorted_sets
    told = [json.loads(event.data) for event in events_of(made).events]
    assert told[1]["conflicts"] == ["plain"] and told[1]["conflicts_base64"] == ["Y2Fm6Q=="]
    assert events_of(made).events[0].prefixes == [b"caf\xe9/", b"old\xff", b"\xe9", b"\xff\xfe"]
