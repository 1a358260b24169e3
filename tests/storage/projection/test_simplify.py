"""Which commits of a history with merges a slice keeps, and on which they stand: the cases of the rule, one by one."""

from __future__ import annotations

import pytest

from storage.base.ids import ObjectId
from storage.git.objects import EMPTY_TREE
from storage.projection.simplify import SimplifiedHistory


def oid(name: str) -> ObjectId:
    return ObjectId(name.encode().ljust(20, b"."))


# What each commit is: its name, its tree (`-`: nothing of the slice is there), and its parents; then what is kept of
# what the last one reaches, each with its parents.
CASES = {
    "what changes nothing is left out": ("a=1 b=1:a c=2:b", "a c:a"),
    "nothing of the slice": ("a=- b=-:a", ""),
    "it begins later, and ends": ("a=- b=1:a c=-:b d=-:c", "b c:b"),
    "it ends and begins again": ("a=1 b=-:a c=1:b", "a b:a c:b"),
    "a merge of what changed on both sides": ("a=1 b=2:a c=3:a m=4:b,c", "a b:a c:a m:b,c"),
    "a merge that takes the first side": ("a=1 b=2:a c=3:a m=2:b,c d=5:m", "a b:a d:b"),
    "a merge that takes the second side": ("a=1 b=2:a c=3:a m=3:b,c d=5:m", "a c:a d:c"),
    "the first of two sides that are the same": ("a=1 b=2:a c=2:a m=2:b,c", "a b:a"),
    "a merge of what changed elsewhere": ("a=1 b=1:a c=1:a m=1:b,c d=2:m", "a d:a"),
    "a side that changed elsewhere alone": ("a=1 b=1:a c=2:a m=2:b,c", "a c:a"),
    "a merge that changes something itself": ("a=1 b=1:a c=1:a m=2:b,c", "a m:a"),
    "two roots": ("a=1 b=2 m=3:a,b", "a b m:a,b"),
    "a root without anything of the slice": ("a=1 b=- m=1:b,a c=2:m", "a c:a"),
    "a merge that throws all away": ("a=1 b=- m=-:a,b", ""),
    "an octopus": ("a=1 b=2:a c=3:a d=4:a m=5:b,c,d", "a b:a c:a d:a m:b,c,d"),
    "an octopus of which two are one": ("a=1 b=2:a c=2:b d=4:a m=5:b,c,d", "a b:a d:a m:b,d"),
    "a parent that another one descends from": ("a=1 b=2:a c=3:b m=4:a,c", "a b:a c:b m:a,c"),
    "a side that nothing is left of": ("a=1 b=2:a c=1:b d=9:a m=9:c,d", "a d:a"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rule(case: str) -> None:
    history, expected = CASES[case]
    trees: dict[ObjectId, ObjectId] = {}
    simplified = SimplifiedHistory(trees.__getitem__, None)
    names: list[str] = []
    for each in history.split():
        what, _, parents = each.partition(":")
        name, _, tree = what.partition("=")
        names.append(name)
        root = oid(f"root {name}")
        trees[root] = EMPTY_TREE if tree == "-" else oid(f"tree {tree}")
        simplified.add(oid(name), root, [oid(parent) for parent in parents.split(",") if parent])
    kept = simplified.of(oid(names[-1]))
    shown = [each.commit.rstrip(b".").decode() for each in kept]
    told = [
        name + (":" + ",".join(shown[parent] for parent in each.parents) if each.parents else "")
        for name, each in zip(shown, kept, strict=True)
    ]
    assert told == expected.split()


def test_trees_are_asked_for_only_where_they_may_differ() -> None:
    """Cost: none for what the index does not name, but for merges of sides that differ in the slice."""
    asked: list[ObjectId] = []
    trees = {oid("a"): oid("1"), oid("b"): oid("2"), oid("both"): oid("2")}

    def reduce(root: ObjectId) -> ObjectId:
        asked.append(root)
        return trees[root]

    simplified = SimplifiedHistory(reduce, {oid("a"), oid("b")})
    simplified.add(oid("before"), oid("nothing"), [])
    simplified.add(oid("a"), oid("a"), [oid("before")])
    simplified.add(oid("elsewhere"), oid("a2"), [oid("a")])
    simplified.add(oid("alike"), oid("a3"), [oid("elsewhere"), oid("a")])
    simplified.add(oid("b"), oid("b"), [oid("elsewhere")])
    simplified.add(oid("both"), oid("both"), [oid("alike"), oid("b")])
    assert asked == [oid("a"), oid("b"), oid("both")]
    assert [each.commit for each in simplified.of(oid("both"))] == [oid("a"), oid("b")]
