"""Identities: the first of the policy whose issuer and claims a token has."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from storage.access.changes import changes
from storage.access.identities import Identities
from storage.access.policy import Identity, Policy


def fits(identity: Identity, issuer: str, claims: Mapping[str, object]) -> bool:
    """The slow reading, in the words of the documentation."""
    return identity.issuer == issuer and all(claims.get(name) == value for name, value in identity.claims.items())


def test_the_first_that_fits_is_that_of_a_slow_reading() -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    for _ in range(300):
        made = [
            Identity(
                issuer=chance.choice("xy"),
                claims={name: chance.choice("12") for name in chance.sample("abc", chance.randint(1, 3))},
                principal=f"ci:{number}",
            )
            for number in range(chance.randint(0, 12))
        ]
        identities = Identities(made)
        for _ in range(20):
            issuer, claims = chance.choice("xyz"), {name: chance.choice("123") for name in chance.sample("abc", 2)}
            expected = next((each.principal for each in made if fits(each, issuer, claims)), None)
            assert identities.principal(issuer, claims) == expected, seed


@pytest.mark.parametrize(
    ("value", "found"),
    [("74", True), (74, True), ("074", False), (74.0, False), (["74"], False), (None, False), ({"74": 1}, False)],
)
def test_a_claim_is_compared_as_text(value: object, found: bool) -> None:
    identities = Identities([Identity(issuer="x", claims={"id": "74"}, principal="ci:a")])
    assert (identities.principal("x", {"id": value}) == "ci:a") is found


def test_true_is_no_number() -> None:
    identities = Identities([Identity(issuer="x", claims={"id": text}, principal="ci:a") for text in ("True", "1")])
    assert identities.principal("x", {"id": True}) is None


def test_what_a_policy_changes_names_tokens() -> None:
    new = Policy(identities=(Identity(issuer="x", claims={"b": "2", "a": "1"}, principal="ci:a"),))
    assert changes(Policy(), new) == [
        {"principal": "ci:a", "gains": ["tokens of x with a=1 and b=2"], "loses": []}
    ]  # fmt: skip
