"""What the writer of a changeset saw: down a stack to the first tree that is known, and no further."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from storage.base.ids import ChangesetId, ObjectId
from storage.commit.base_resolver import BaseResolver
from storage.git.objects import EMPTY_TREE
from storage.log.manifest import Changeset
from storage.log.records import Outcome, Status
from tests.support.link_bench import BASE, changeset

SEEN, SAW, ROOT = (ObjectId(letter * 20) for letter in (b"1", b"2", b"3"))
A, B, C = map(ChangesetId, "ABC")


def committed(**fields: str) -> Outcome:
    """The outcome of a committed changeset that says so of its base."""
    return Outcome(status=Status.COMMITTED, slice="all", pack="inbox/p-1", seq=1, index=0, **fields)


SEES, SAW_TREE = committed(seen=SEEN.hex()), committed(saw=SAW.hex())
REPEAT = committed(first="B", fingerprint="f")
STACKS = [
    # outcomes from the base down, the changesets whose changes were seen, and the tree below them
    ({A: SEES}, "", SEEN),
    ({A: SAW_TREE}, "A", SAW),
    ({A: committed(base="B"), B: SAW_TREE}, "AB", SAW),
    ({A: committed(base="B"), B: committed(base="C"), C: SEES}, "AB", SEEN),
    ({A: REPEAT, B: committed(saw=SAW.hex(), fingerprint="f")}, "B", SAW),
    ({}, "ABC", ROOT),  # none is committed: C is on a commit
]


def resolver(
    outcomes: dict[ChangesetId, Outcome], read: Callable[[ChangesetId], Outcome | None] = {}.__getitem__
) -> BaseResolver:
    stack = {A: changeset(A, on=B), B: changeset(B, on=C), C: changeset(C)}
    return BaseResolver({BASE: ROOT}.get, outcomes.get, read, stack.__getitem__)


@pytest.mark.parametrize(("outcomes", "above", "tree"), STACKS)
def test_a_stack_is_descended_to_the_first_tree(
    outcomes: dict[ChangesetId, Outcome], above: str, tree: ObjectId
) -> None:
    descent = resolver(outcomes, lambda _: None).descend(A)
    assert "".join(each for each, _ in descent) == above
    assert descent.tree == tree


def test_outcomes_that_are_not_known_are_read_where_they_have_to_be_there() -> None:
    read: list[ChangesetId] = []

    def read_outcome(changeset_id: ChangesetId) -> Outcome:
        read.append(changeset_id)
        return committed(saw=SAW.hex(), fingerprint="f")

    descent = resolver({A: committed(base="B")}, read_outcome).descend(A)
    assert [each for each, _ in descent] == [A, B] and (descent.tree, read) == (SAW, [B])
    repeated = resolver({A: REPEAT}, read_outcome)
    assert [repeated.first_of(each) for each in (A, A, B, C)] == [B, B, B, C]
    assert read == [B, B], "once, and then it is known"
    assert repeated.outcome_of(B) and repeated.outcome_of(C) is None


@pytest.mark.parametrize("fingerprint", ["f", "another"])
def test_another_request_with_the_same_key_stands_for_itself(fingerprint: str) -> None:
    outcomes = {A: REPEAT, B: committed(fingerprint=fingerprint)}
    assert resolver(outcomes).first_of(A) == (B if fingerprint == "f" else A)


def test_a_base_that_is_no_changeset_is_a_tree() -> None:
    bases = resolver({A: SEES, B: SAW_TREE})
    on_commit: Changeset = changeset(C)
    assert bases.tree_of(on_commit) == ROOT
    assert bases.tree_of(replace(on_commit, base_commit=ObjectId(b"?" * 20))) is None
    assert bases.tree_of(replace(on_commit, base_commit=None)) == EMPTY_TREE
    assert bases.tree_of(changeset(C, on=A)) == SEEN
    assert bases.tree_of(changeset(C, on=B)) is None, "it has to be made of what B saw"
