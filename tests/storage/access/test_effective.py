"""What a token leaves of a principal's grants is what a slow reading of both gives."""

from __future__ import annotations

import random

import pytest

from storage.access import effective as module
from storage.access.effective import effective
from storage.access.policy import Grant, Policy, Right, Role, grants_of
from tests.support.slow_rights import allowed, within

PATHS = ["/", "a/", "a/b/", "a/b", "ab/", "c"]
ADA = "user:ada"


def a_grant(chance: random.Random) -> Grant:
    until = chance.choice([None, None, 999, 1001])
    return Grant(
        to=chance.choice([ADA, "everyone"]), role=chance.choice(list(Role)), path=chance.choice(PATHS), until=until
    )


def test_2_000_random_tokens_have_what_a_slow_reading_gives() -> None:
    chance = random.Random(20261129)
    given = 0
    for _ in range(2_000):
        policy = Policy(grants=tuple(a_grant(chance) for _ in range(chance.randint(0, 5))))
        role = chance.choice([None, None, *Role])
        paths = chance.sample(PATHS, chance.choice([0, 0, 1, 2]))
        left = effective(grants_of(policy, ADA), role, paths)
        shown = Policy(grants=tuple(left))
        for right in Right:
            for path in ("a/x", "a/b", "a/b/x", "ab/x", "c", "d"):
                for now in (None, 1000):
                    expected = allowed(policy, ADA, right, path, now) and within(role, paths, right, path)
                    assert allowed(shown, ADA, right, path, now) == expected, (policy, role, paths, right, path)
                    given += expected
        assert effective(left, None, []) == left
    assert given > 10_000


def test_many_grants_and_many_paths_are_not_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def counted(*pair: Grant) -> bool:
        nonlocal compared
        compared += 1
        return says_more(*pair)

    says_more = module._says_more
    monkeypatch.setattr(module, "_says_more", counted)
    paths = [f"a{number}/b/" for number in range(1_000)]
    grants = [Grant(to=ADA, role=Role.READER, path=path) for path in paths]
    assert effective(grants, None, paths) == grants and compared == len(grants)


def test_what_says_no_more_than_another_is_left_out() -> None:
    admin = Grant(to=ADA, role=Role.ADMIN, path="/")
    grants = [admin, Grant(to="everyone", role=Role.READER, path="docs/"), Grant(to=ADA, role=Role.CHECKER, path="a/")]
    assert effective(grants, None, []) == [admin, grants[2]]
    assert effective(grants, Role.WRITER, ["docs/x", "docs/"]) == [Grant(to=ADA, role=Role.WRITER, path="docs/")]
