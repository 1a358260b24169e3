"""Files whose names are not UTF-8 are decided as any other, and what is recorded of them names their bytes."""

from __future__ import annotations

from storage.base.ids import ObjectId
from storage.git.objects import FILE_MODE, Version
from storage.git.paths import raw_path
from storage.log.manifest import Proposal
from storage.log.records import Status
from storage.view.snapshot import Slice
from tests.support.link_bench import BASE, FILE, B, C, LinkBench, changeset, chmod, delete, put

LATIN, BELOW = b"caf\xe9", b"d/\xff/\xfe"


def bench() -> LinkBench:
    return LinkBench({LATIN: FILE, BELOW: FILE, b"plain": FILE})


def test_they_are_put_deleted_and_moved() -> None:
    made = bench()
    linked = made.link(
        [
            changeset("1", put(LATIN, B), chmod(BELOW, 0o100755)),
            changeset("2", delete(b"plain"), put(b"d/\xff/new", C), on="1"),
            changeset("3", delete(LATIN), Proposal("move", b"\xff\xfe", 0, source=LATIN), on="2"),
        ],
        bases={BASE: made.root},
    )
    assert [each.status for each in linked.decided] == [Status.COMMITTED] * 3
    assert made.files(linked) == {
        BELOW: Version(0o100755, FILE.oid), b"d/\xff/new": Version(FILE_MODE, C), b"\xff\xfe": Version(FILE_MODE, B),
    }  # fmt: skip
    [move] = linked.decided[2].moves
    assert (raw_path(move.source), raw_path(move.path)) == (LATIN, b"\xff\xfe")
    assert [raw_path(path) for path in linked.decided[1].covers] == [b"d/\xff/new", b"plain"]
    assert all(record.names_bytes for record in linked.decided)


def test_a_conflict_and_what_is_in_the_way_are_named_by_their_bytes() -> None:
    made = bench()
    linked = made.link(
        [
            changeset("1", put(LATIN, B)),
            changeset("2", put(LATIN, C)),
            changeset("3", put(b"d/\xff/\xfe/below", C)),
            changeset("4", put(b"d", C)),
        ],
        bases={BASE: made.root},
    )
    committed, conflicted, rejected, blocked = linked.decided
    assert committed.status == Status.COMMITTED
    [conflict] = conflicted.conflicts
    assert raw_path(conflict.path) == LATIN
    assert rejected.reason == "in-the-way" and "d/\\xff/\\xfe" in (rejected.detail or "")
    assert blocked.reason == "in-the-way" and "its base has d/\\xff/\\xfe" in (blocked.detail or "")


def test_one_that_its_slice_does_not_cover_is_rejected_by_name() -> None:
    made = bench()
    narrow = {"all": Slice("all", "all", frozenset([b"d/"]), 1)}
    linked = made.link([changeset("1", put(b"d\xff/x", B)), changeset("2", put(b"d/\xff/x", ObjectId(B)))],
                       bases={BASE: made.root}, slices=narrow)  # fmt: skip
    refused, taken = linked.decided
    assert (refused.reason, refused.detail) == ("outside-slice", "d\\xff/x is not in slice all")
    assert taken.status == Status.COMMITTED
