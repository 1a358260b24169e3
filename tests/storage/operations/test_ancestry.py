"""Walks of commit graphs by numbers and dominators, compared with sets of all that each commit has."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from storage.importing.graph import Dominators
from storage.lookup.imported_graph import NOTHING, Node
from storage.operations.versions import ancestry
from storage.operations.versions.ancestry import Ancestors, Graph, WalkTooLong, merge_bases, only_in_each


class Listed:
    """A graph in memory, which counts what is asked."""

    def __init__(self, parents: Sequence[tuple[int, ...]]) -> None:
        dominators = Dominators()
        self.nodes = [Node(some, *dominators.add(some)) for some in parents]
        self.asked = 0

    def node(self, number: int) -> Node:
        self.asked += 1
        return self.nodes[number]


def random_parents(rng: random.Random, count: int) -> list[tuple[int, ...]]:
    """Return parents of commits: roots, lines of work of any length, merges of two and more."""
    parents: list[tuple[int, ...]] = []
    for number in range(count):
        many = 0 if rng.random() < 0.05 else rng.choice([1, 1, 1, 2, 2, 3])
        reach = rng.choice([2, 4, 10, 50])
        some = range(max(0, number - max(many, reach)), number)
        parents.append(tuple(rng.sample(some, min(many, len(some)))))
    return parents


def having(parents: Sequence[tuple[int, ...]]) -> list[set[int]]:
    """Return what each commit has, with itself."""
    all_of: list[set[int]] = []
    for number, some in enumerate(parents):
        all_of.append({number}.union(*(all_of[parent] for parent in some)))
    return all_of


@pytest.mark.parametrize("seed", range(40))
def test_a_dominator_is_what_every_way_to_a_root_goes_through(seed: int) -> None:
    rng = random.Random(seed)
    parents = random_parents(rng, 40)
    nodes, all_of = Listed(parents).nodes, having(parents)

    def has_way_without(number: int, avoided: int) -> bool:
        left = [number]
        while left:
            one = left.pop()
            if one != avoided and not parents[one]:
                return True
            left += parents[one] if one != avoided else ()
        return False

    for number, node in enumerate(nodes):
        through = [each for each in all_of[number] - {number} if not has_way_without(number, each)]
        assert node.dominator == max(through, default=NOTHING), f"seed {seed}"
        assert node.jump in (NOTHING, *through)


@pytest.mark.parametrize("seed", range(40))
def test_merge_bases_counts_and_ancestors_are_those_of_sets(seed: int) -> None:
    rng = random.Random(seed)
    parents = random_parents(rng, rng.randint(2, 60))
    listed, all_of = Listed(parents), having(parents)
    for _ in range(50):
        one, other = rng.randrange(len(parents)), rng.randrange(len(parents))
        common = all_of[one] & all_of[other]
        best = [each for each in common if not any(each in all_of[lower] for lower in common - {each})]
        assert merge_bases(Graph(listed), one, other) == sorted(best, reverse=True), f"seed {seed}"
        expected = len(all_of[one] - all_of[other]), len(all_of[other] - all_of[one])
        assert only_in_each(Graph(listed), one, other) == expected, f"seed {seed}"
        has = Ancestors(Graph(listed), one)
        asked = sorted(rng.sample(range(len(parents)), rng.randint(1, len(parents))), reverse=True)
        assert [has.has(number) for number in asked] == [number in all_of[one] for number in asked], f"seed {seed}"


def test_the_far_past_is_a_few_steps_away() -> None:
    """Cost: a hundred thousand commits, each third one a merge of a branch, are passed in some dozens of steps."""
    parents: list[tuple[int, ...]] = [()]
    while len(parents) < 100_000:
        last = len(parents) - 1
        parents += [(last,), (last,), (last + 1, last + 2)]
    listed = Listed(parents)
    for wanted in (0, 3, 33_333, 66_666):
        listed.asked = 0
        assert Graph(listed).lowest_dominator(len(parents) - 1, wanted) == wanted
        assert merge_bases(Graph(listed), len(parents) - 1, wanted) == [wanted]
        assert Ancestors(Graph(listed), len(parents) - 1).has(wanted)
        assert listed.asked < 3 * 60


def test_a_walk_ends_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Listed([(), (0,), *[(number,) for number in range(1, 60)], (0,)])
    assert only_in_each(Graph(listed), 61, 60) == (1, 60)
    monkeypatch.setattr(ancestry, "MOST_WALKED", 20)
    with pytest.raises(WalkTooLong, match="MOST_WALKED"):
        only_in_each(Graph(listed), 61, 60)
    with pytest.raises(WalkTooLong, match="MOST_WALKED"):
        merge_bases(Graph(listed), 61, 60)
    assert merge_bases(Graph(listed), 60, 0) == [0], "which goes by dominators"
