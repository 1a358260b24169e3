"""An issuer's keys: how often it is asked, how long they count, and what is not taken for keys."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.access import issuer_keys
from app.access.issuer_keys import (
    AGAIN_AFTER,
    AGAIN_AFTER_FAILURE,
    FRESH,
    MOST_BYTES,
    USABLE,
    IssuerKeys,
    KeysUnavailable,
)
from tests.support.issuer import Issuer, jwk, serving


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serving(Issuer()) as issuer:
        yield issuer


@pytest.fixture
def keys(issuer: Issuer, clock: Clock) -> IssuerKeys:
    return IssuerKeys(f"{issuer.url}/jwks", clock=clock)


def test_keys_are_fetched_once_and_kept(keys: IssuerKeys, issuer: Issuer, clock: Clock) -> None:
    assert keys.key("first") is not None
    clock.now += FRESH - 1
    assert keys.key("first") is not None and issuer.asked == 1


def test_unknown_ids_of_keys_ask_the_issuer_once_a_minute_at_most(
    keys: IssuerKeys, issuer: Issuer, clock: Clock
) -> None:
    assert [keys.key(f"unknown{number}") for number in range(50)] == [None] * 50 and issuer.asked == 1
    clock.now += AGAIN_AFTER - 1
    assert keys.key("unknown") is None and issuer.asked == 1
    clock.now += 1
    assert keys.key("unknown") is None and keys.key("another") is None and issuer.asked == 2


def test_a_new_key_counts_from_the_next_fetch_and_a_withdrawn_one_until_then(
    keys: IssuerKeys, issuer: Issuer, clock: Clock
) -> None:
    assert keys.key("first") is not None
    issuer.keys = [jwk("second")]
    clock.now += AGAIN_AFTER
    assert keys.key("second") is not None and issuer.asked == 2
    assert keys.key("first") is None and keys.has_withdrawn("first")


def test_a_withdrawn_key_is_gone_when_keys_are_not_fresh_any_more(
    keys: IssuerKeys, issuer: Issuer, clock: Clock
) -> None:
    assert keys.key("first") is not None
    issuer.keys = [jwk("second")]
    clock.now += FRESH
    assert keys.key("first") is None and issuer.asked == 2


def test_while_they_cannot_be_fetched_keys_count_for_an_hour(keys: IssuerKeys, issuer: Issuer, clock: Clock) -> None:
    assert keys.key("first") is not None
    issuer.status = 500
    clock.now += USABLE - 1
    assert keys.key("first") is not None and issuer.asked == 2
    with pytest.raises(KeysUnavailable):  # it may have a new one, nobody knows
        keys.key("second")
    clock.now += 1
    with pytest.raises(KeysUnavailable):
        keys.key("first")


def test_an_issuer_that_is_away_is_asked_again_after_a_while(keys: IssuerKeys, issuer: Issuer, clock: Clock) -> None:
    issuer.status = 503
    for _ in range(3):
        with pytest.raises(KeysUnavailable) as refusal:
            keys.key("first")
    assert issuer.asked == 1 and refusal.value.retry_after == AGAIN_AFTER_FAILURE
    issuer.status = 200
    clock.now += AGAIN_AFTER_FAILURE
    assert keys.key("first") is not None


def test_a_slow_issuer_holds_up_nobody_whose_key_is_known(
    keys: IssuerKeys, issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keys.key("first") is not None
    issuer.waits = threading.Event()
    clock.now += AGAIN_AFTER
    with ThreadPoolExecutor(2) as pool:
        unknown = [pool.submit(keys.key, "second") for _ in range(2)]
        assert keys.key("first") is not None
        assert not any(each.done() for each in unknown)
        issuer.keys = [jwk("first"), jwk("second")]
        issuer.waits.set()
        assert all(each.result(30) for each in unknown)
    assert issuer.asked == 2


def test_who_waits_for_a_slow_issuer_waits_for_a_limited_time(
    keys: IssuerKeys, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_keys, "PATIENCE", 0.05)
    issuer.waits = threading.Event()
    with pytest.raises(KeysUnavailable):
        keys.key("first")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": []}', b"x" * (MOST_BYTES + 1), b"[" * 100_000,
        json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "first"}]}).encode(),
        json.dumps({"keys": [jwk("first", use="enc")]}).encode(),
        json.dumps({"keys": [{**jwk("first"), "kid": 1}]}).encode(),
        json.dumps({"keys": [jwk("first", n="AQAB")]}).encode(),
    ],
    ids=["nothing", "list", "no keys", "number", "empty", "large", "deep", "secret", "encryption", "no id", "weak"],
)  # fmt: skip
def test_what_is_no_set_of_public_keys_is_not_taken_for_one(keys: IssuerKeys, issuer: Issuer, body: bytes) -> None:
    issuer.body = body
    with pytest.raises(KeysUnavailable):
        keys.key("first")


def test_a_redirect_is_not_followed(keys: IssuerKeys, issuer: Issuer) -> None:
    issuer.status, issuer.headers = 302, {"Location": f"{issuer.url}/elsewhere"}
    with pytest.raises(KeysUnavailable):
        keys.key("first")
    assert issuer.asked == 1


def test_keys_that_cannot_be_used_are_passed_over(keys: IssuerKeys, issuer: Issuer) -> None:
    odd: list[Any] = [1, {"kty": "RSA", "kid": "x"}, {"kty": "EC", "crv": "no", "kid": "y"}]
    issuer.keys = [*odd, jwk("curve"), jwk("first", alg="RS512")]
    found = keys.key("first")
    assert found and found.algorithm == "RS512" and keys.key("x") is None
    curve = keys.key("curve")
    assert curve and curve.algorithm == "ES256"
