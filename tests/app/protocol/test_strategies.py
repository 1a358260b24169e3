"""Patterns of `strategies`: what they match, and that no pattern takes long, whatever it is."""

from __future__ import annotations

import pytest
from marshmallow import ValidationError

from app.protocol.changesets.schemas import load_bulk, load_changeset
from app.protocol.changesets.strategies import MAX_MATCHED_BYTES, MatchBudget, Rule, Rules
from app.protocol.patterns import PatternError, Patterns, parse
from app.protocol.problems import Problem
from storage.base.settings import Settings
from storage.git.threeway import Strategy


def problem_of(data: object) -> Problem:
    with pytest.raises(Problem) as refused:
        load_changeset(data, Settings())
    return refused.value


def matches(pattern: str, path: str) -> bool:
    return Patterns([parse(pattern.encode())]).last(path.encode()) is not None


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.lock", "a.lock dir/a.lock a.lock/x .lock", "a.locks lock"),
        ("/*.lock", "a.lock", "dir/a.lock"),
        ("gen", "gen gen/a x/gen x/gen/a", "gene x/agen"),
        ("gen/", "gen/a x/gen/a", "gen x/gen"),
        ("/gen/", "gen/a", "gen x/gen/a"),
        ("a/b", "a/b a/b/c", "x/a/b a"),
        ("a/*/c", "a/b/c", "a/c a/b/b/c"),
        ("a/**/c", "a/c a/b/c a/b/b/c a/c/d", "ac x/a/c"),
        ("**/c", "c a/c a/b/c", "ac"),
        ("a/**", "a/b a/b/c", "a b/a/b"),
        ("a/**/", "a/b/c", "a/b"),
        ("**", "a a/b", ""),
        ("a**b", "ab axb x/ab", "a/b"),
        ("**/**/a/***/b", "a/b x/y/a/x/y/b", "b"),
        ("?", "a x/a a/x", "ab"),
        ("[a-c]x[!0-9]", "axa bx-", "dxa ax1"),
        ("[^a]/b", "b/b", "a/b"),
        ("[]-a]", "] ^ a", "b"),
        ("[[:digit:]_-]", "1 _ -", "a"),
        ("[a-\\d]", "a d", "e"),
        ("a[b/c]d", "abd acd", "a/d x/abd"),
        ("\\*a\\ ", "*a\\ ", "xa"),
        ("ü*", "ü über", "u"),
    ],
)
def test_patterns_are_those_of_gitignore(pattern: str, yes: str, no: str) -> None:
    for path in yes.replace("\\ ", "\0").split():
        assert matches(pattern, path.replace("\0", " ")), path
    for path in no.split():
        assert not matches(pattern, path), path


@pytest.mark.parametrize("pattern", ["[z-a]", "[", "[]", "[!", "a[b-", "a\\", "[[:alfa:]]", "[\\", "/", "//", "[:a"])
def test_what_could_match_nothing_is_no_pattern(pattern: str) -> None:
    with pytest.raises(PatternError):
        parse(pattern.encode())
    rules = [{"pattern": "a", "strategy": "ours"}, {"pattern": pattern, "strategy": "ours"}]
    found = problem_of(body(["a"], rules))
    assert found.errors[0]["field"] == "strategies[1].pattern"


def test_the_last_of_the_rules_counts() -> None:
    rules = [("*", Strategy.OURS), ("*.c", Strategy.EXACT), ("x/", Strategy.THEIRS)]
    chosen = Rules([Rule(parse(pattern.encode()), strategy) for pattern, strategy in rules], MatchBudget())
    assert [chosen.strategy_for(path) for path in (b"a", b"a.c", b"x/a.c", b"x")] == [
        Strategy.OURS, Strategy.EXACT, Strategy.THEIRS, Strategy.OURS,
    ]  # fmt: skip
    assert Rules([Rule(parse(b"b"), Strategy.OURS)], MatchBudget()).strategy_for(b"a") == Strategy.MERGE


class Counted(int):
    """A number that counts what is done with it and with what comes of that."""

    done = 0

    def __and__(self, other: int) -> Counted:
        Counted.done += 1
        return Counted(int(self) & other)

    def __or__(self, other: int) -> Counted:
        return Counted(int(self) | other)

    def __lshift__(self, other: int) -> Counted:
        return Counted(int(self) << other)


@pytest.mark.parametrize(
    "pattern", ["*a*/*a*/*a*/z", "**/*a*/**/z", "*a" * 100, "**/a*/" * 50 + "z", "a", "[!b]*" * 99]
)
def test_a_path_takes_as_many_steps_as_it_has_bytes_whatever_the_pattern(pattern: str) -> None:
    patterns = Patterns([parse(pattern.encode())] * 20)
    patterns._start = Counted(patterns._start)
    for path in (b"/".join([b"a" * 250] * 16), b"a/" * 2047 + b"y"):
        Counted.done = 0
        patterns.last(path)
        assert Counted.done <= 6 * len(path) + 2


def body(paths: list[str], rules: object) -> dict[str, object]:
    changes = [{"op": "put", "path": path, "content": ""} for path in paths]
    return {"message": "m", "base": "1" * 40, "changes": changes, "strategies": rules}


@pytest.mark.long
def test_what_one_request_has_matched_is_bounded() -> None:
    settings, rule = Settings(), {"pattern": "*a*", "strategy": "ours"}
    long = "/".join(["a" * 250] * 16)
    count = MAX_MATCHED_BYTES // len(long)
    found = problem_of(body([f"{long}/{i}" for i in range(count)], [rule]))
    assert found.errors[0]["field"].endswith(".path") and "MAX_MATCHED_BYTES" in found.errors[0]["message"]
    items = [{"slice": "s", **body([f"{long}/{i}" for i in range(100)], [rule])} for _ in range(count // 100 + 1)]
    *taken, refused = load_bulk({"changesets": items}, settings)
    assert getattr(refused, "status", None) == 422 and not any(hasattr(each, "status") for each in taken)
    found = problem_of(body(["a"], [{"pattern": "a" * 900, "strategy": "ours"}] * 5))
    assert found.errors[0]["field"] == "strategies" and "MAX_PATTERNS_BYTES" in found.errors[0]["message"]


def test_effort_is_spent_once() -> None:
    effort = MatchBudget()
    effort.spend(MAX_MATCHED_BYTES)
    with pytest.raises(ValidationError):
        effort.spend(1)
