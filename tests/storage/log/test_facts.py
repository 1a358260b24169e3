"""What is told of a changeset is bounded, and lists find it by what it is."""

from __future__ import annotations

from typing import Any

import pytest

from storage.base.ids import ChangesetId, ObjectId, PackId, SliceId
from storage.git.objects import Ident
from storage.log import manifest
from storage.log.facts import SUBJECT_CHARACTERS, covers_of, digest_of, digests, facts_of, waiting_of
from storage.log.manifest import Changeset, Proposal
from storage.log.records import Actor, Decided, Facts, RecordedChange, RecordedConflict, Status, Submitter
from tests.support.persisted import ulid

ADA = Ident("Ada", "ada@example.org", 0, 0)
PACK = PackId(f"inbox/{ulid('A1')}-1")


def changeset(paths: int = 1, **more: Any) -> Changeset:
    given: dict[str, Any] = {
        "id": ChangesetId(ulid("A1")), "pack": PACK, "slice": SliceId(ulid("S1")), "author": ADA, "message": "m",
        "changes": tuple(Proposal("delete", f"d/f{i}".encode(), 0) for i in range(paths)),
    }  # fmt: skip
    return Changeset(**given | more)


@pytest.mark.parametrize(
    ("message", "subject", "more"),
    [
        ("One", "One", False),
        ("\n One \n", "One", False),
        ("One\n\ntwo", "One", True),
        ("x" * SUBJECT_CHARACTERS, "x" * SUBJECT_CHARACTERS, False),
        ("x" * 5000, "x" * SUBJECT_CHARACTERS, True),
    ],
)
def test_the_first_line_of_a_message_is_told(message: str, subject: str, more: bool) -> None:
    facts = facts_of(changeset(message=message), ())
    assert (facts.subject, facts.more) == (subject, more)


def test_paths_are_counted_where_they_are_not_all_named() -> None:
    few, many = changeset(3), changeset(30)
    assert covers_of(few) == ("d/f0", "d/f1", "d/f2") and facts_of(few, covers_of(few)).paths == 0
    assert covers_of(many) == ("d/",) and facts_of(many, covers_of(many)).paths == 30


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ({}, None),
        ({"base_commit": ObjectId(b"\1" * 20)}, "01" * 20),
        ({"base_changeset": ChangesetId(ulid("B1"))}, ulid("B1")),
    ],
)
def test_a_base_is_told_as_it_was_given(given: dict[str, Any], base: str | None) -> None:
    assert facts_of(changeset(**given), ()).base == base


def test_a_manifest_keeps_labels_and_an_older_one_has_none() -> None:
    labelled = changeset(labels={"a": "1", "ä": "ü"})
    assert manifest.decode(manifest.encode(labelled), PACK) == labelled
    assert b"labels" not in manifest.encode(changeset())
    waiting = waiting_of(changeset(labels={"a": "1"}, by=Submitter(principal="user:a")))
    assert (waiting.by, waiting.facts.labels, waiting.covers) == ("user:a", {"a": "1"}, ("d/f0",))


def record(status: Status, **more: Any) -> Decided:
    return Decided(id=ChangesetId(ulid("A1")), slice=SliceId(ulid("S1")), pack=PACK, status=status, **more)


def test_a_record_is_found_by_what_it_tells_and_what_it_changed() -> None:
    facts = Facts(author=("Ada", "ada@example.org"), subject="m", labels={"t": "1"})
    said = {digest_of("author", "ada@example.org"), digest_of("label", "t:1"), digest_of("submitter", "user:a")}
    by, path = Actor(principal="user:a"), digest_of("path", "d/f")
    changed = record(Status.COMMITTED, facts=facts, by=by, changes=(RecordedChange("d/f", 0, None),))
    collided = RecordedConflict(path="d/f", kind="content", base=None, head=None, submitted=None)
    assert set(digests(changed)) == {*said, path}
    assert set(digests(record(Status.CONFLICTED, facts=facts, by=by, conflicts=(collided,)))) == {*said, path}
    assert set(digests(record(Status.ABANDONED, facts=facts, by=by))) == said
    assert set(digests(record(Status.REJECTED, by=by))) == {digest_of("submitter", "user:a")}, "an older record"
    assert set(digests(record(Status.REJECTED))) == set()
