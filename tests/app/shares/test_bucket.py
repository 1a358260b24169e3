"""Token buckets, by a clock that the test moves."""

from __future__ import annotations

import random

import pytest

from app.shares.bucket import Bucket


def taken(bucket: Bucket, times: int, now: float) -> int:
    return sum(bucket.take(now).allowed for _ in range(times))


def test_a_quiet_principal_may_send_a_burst_and_then_its_rate() -> None:
    bucket = Bucket(rate=5, burst=2, now=100)
    assert taken(bucket, 50, 100) == 10
    assert taken(bucket, 50, 101) == 5
    assert taken(bucket, 50, 1000) == 10, "no more is saved up"


def test_who_is_refused_is_told_when_the_next_request_is_let_through() -> None:
    bucket = Bucket(rate=0.25, burst=10, now=0)
    assert taken(bucket, 3, 0) == 2
    refused = bucket.take(0)
    assert (refused.allowed, refused.remaining, refused.reset) == (False, 0, 2), "half a token is left"
    assert not bucket.take(refused.reset - 0.1).allowed and bucket.take(refused.reset).allowed


def test_one_request_is_let_through_however_low_the_rate() -> None:
    bucket = Bucket(rate=0.01, burst=10, now=0)
    assert taken(bucket, 2, 0) == 1 and bucket.take(0).reset == 100


def test_what_was_spent_elsewhere_is_owed() -> None:
    bucket = Bucket(rate=10, burst=1, now=0)
    bucket.charge(30, 0)
    assert (bucket.take(0).allowed, bucket.show(0).reset) == (False, 3)
    assert not bucket.take(2).allowed and bucket.take(2.1).allowed


def test_another_rate_counts_at_once() -> None:
    bucket = Bucket(rate=10, burst=1, now=0)
    bucket.change(2, 0)
    assert taken(bucket, 9, 0) == 2 and taken(bucket, 9, 1) == 2
    bucket.change(4, 1)
    assert taken(bucket, 9, 2) == 4


def test_how_it_stands_is_said_as_the_draft_has_it() -> None:
    bucket = Bucket(rate=5, burst=2, now=0)
    assert bucket.take(0).headers == {
        "RateLimit-Policy": '"requests";q=10;w=2',
        "RateLimit": '"requests";r=9;t=1',
    }
    taken(bucket, 20, 0)
    assert bucket.take(0).headers["RateLimit"] == '"requests";r=0;t=1'


@pytest.mark.parametrize("seed", range(20))
def test_in_no_time_more_is_let_through_than_a_burst_and_the_rate(seed: int) -> None:
    rng = random.Random(seed)
    rate, burst, now = rng.choice([0.3, 2, 50]), rng.choice([1.0, 4.0]), 0.0
    bucket, let_through = Bucket(rate, burst, now), []
    for _ in range(400):
        now += rng.choice([0, 0, 0, rng.random() / rate])
        if bucket.take(now).allowed:
            let_through.append(now)
    for i, start in enumerate(let_through):
        for j in range(i, len(let_through)):
            assert j - i + 1 <= max(1, rate * burst) + rate * (let_through[j] - start) + 1e-6
