"""Rights by path: what a policy gives is what a slow and obvious reading of it gives."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from storage.access.policy import EVERYONE, Grant, Policy, Right, Role, has_admin
from storage.access.rights import ALL, NOTHING, Compiled, limited_to
from tests.support.slow_rights import allowed

PARTS = ["a", "ab", "é"]
PRINCIPALS = ["user:ada", "agent:a", "agent:ab", "ci:github/x"]
GROUPS = ["web", "all"]
NOW = 1000


def a_path(chance: random.Random, prefix: bool = False) -> str:
    if prefix and chance.random() < 0.1:
        return "/"
    path = "/".join(chance.choice(PARTS) for _ in range(chance.randint(1, 3)))
    return path + "/" if prefix and chance.random() < 0.7 else path


def a_policy(chance: random.Random) -> Policy:
    groups = {name: tuple(chance.sample(PRINCIPALS, chance.randint(0, 3))) for name in GROUPS}
    to = [*PRINCIPALS, EVERYONE, *("group:" + name for name in [*GROUPS, "none"])]
    grants = [
        Grant(
            to=chance.choice(to),
            role=chance.choice(list(Role)),
            path=a_path(chance, prefix=True),
            until=chance.choice([None, None, NOW - 1, NOW, NOW + 1]),
        )
        for _ in range(chance.randint(0, 16))
    ]
    return Policy(version=1, groups=groups, grants=tuple(grants))


def test_10_000_random_policies_give_what_a_slow_reading_gives() -> None:
    chance = random.Random(20261129)
    given = asked = 0
    for _ in range(10_000):
        policy = a_policy(chance)
        compiled = Compiled(policy)
        for _ in range(6):
            principal, right = chance.choice(PRINCIPALS), chance.choice(list(Right))
            path, now = a_path(chance, prefix=chance.random() < 0.3), chance.choice([NOW, None])
            expected = allowed(policy, principal, right, path, now)
            assert compiled.rights(principal).has(right, path.encode(), now) == expected, (policy, principal, path)
            given, asked = given + expected, asked + 1
    assert asked / 10 < given < asked / 2, "both answers are common"


def each_role(path: str) -> Iterable[tuple[Role, set[Right]]]:
    for role in Role:
        rights = Compiled(Policy(grants=(Grant(to="user:ada", role=role, path=path),))).rights("user:ada")
        yield role, {right for right in Right if rights.has(right, b"docs/a")}


def test_each_role_has_the_rights_of_those_before_it() -> None:
    read, write, maintain = {Right.READ}, {Right.READ, Right.WRITE}, {Right.READ, Right.WRITE, Right.MAINTAIN}
    assert dict(each_role("docs/")) == {
        Role.READER: read,
        Role.WRITER: write,
        Role.MAINTAINER: maintain,
        Role.ADMIN: maintain | {Right.ADMIN},
        Role.CHECKER: {Right.CHECK},
        Role.IMPERSONATE: {Right.IMPERSONATE},
    }
    assert not any(rights for _, rights in each_role("doc/"))


def test_a_prefix_is_whole_directories() -> None:
    policy = Policy(grants=(Grant(to="user:ada", role=Role.READER, path="src/"),))
    rights = Compiled(policy).rights("user:ada")
    assert rights.has(Right.READ, b"src/") and rights.has(Right.READ, b"src/a/b")
    assert not any(rights.has(Right.READ, path) for path in (b"src", b"srcs/a", b"a/src/b", b"/"))


def test_of_several_paths_the_first_without_the_right_is_named() -> None:
    policy = Policy(grants=(Grant(to="user:ada", role=Role.READER, path="src/"),))
    rights = Compiled(policy).rights("user:ada")
    assert rights.missing(Right.READ, [b"src/a", b"secret/b", b"c"]) == b"secret/b"
    assert rights.missing(Right.READ, [b"src/a"]) is None and rights.missing(Right.WRITE, [b"src/a"]) == b"src/a"


def test_a_right_ends_when_its_grant_does_and_a_batch_does_not_look_at_the_clock() -> None:
    policy = Policy(grants=(Grant(to="user:ada", role=Role.WRITER, path="src/", until=NOW),))
    rights = Compiled(policy).rights("user:ada")
    assert rights.has(Right.WRITE, b"src/a", NOW - 0.001) and not rights.has(Right.WRITE, b"src/a", NOW)
    assert rights.has(Right.WRITE, b"src/a")


def test_a_token_is_limited_by_role_and_paths() -> None:
    assert limited_to(None, []).missing(Right.ADMIN, [b"/"]) is None
    reads = limited_to(Role.READER, [])
    assert reads.has(Right.READ, b"x") and not reads.has(Right.WRITE, b"x")
    docs = limited_to(None, ["docs/"])
    assert docs.has(Right.ADMIN, b"docs/a") and not docs.has(Right.READ, b"x") and not docs.has(Right.READ, b"/")
    assert ALL.has(Right.IMPERSONATE, b"x") and not NOTHING.has(Right.READ, b"x")


@pytest.mark.parametrize(
    ("to", "role", "path", "until", "has"),
    [
        ("user:ada", Role.ADMIN, "/", None, True),
        ("group:web", Role.ADMIN, "/", None, True),
        ("group:none", Role.ADMIN, "/", None, False),
        ("user:ada", Role.ADMIN, "docs/", None, False),
        ("user:ada", Role.ADMIN, "/", NOW, False),
        ("user:ada", Role.MAINTAINER, "/", None, False),
    ],
)
def test_a_policy_needs_an_admin_for_good(to: str, role: Role, path: str, until: int | None, has: bool) -> None:
    policy = Policy(groups={"web": ("user:ada",)}, grants=(Grant(to=to, role=role, path=path, until=until),))
    assert has_admin(policy) is has
