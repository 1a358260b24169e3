"""Batches become smaller while servers are too slow for them, and larger again."""

from __future__ import annotations

import pytest

from storage.queue import pace as module
from storage.queue.pace import FAR, Pace


@pytest.fixture(autouse=True)
def as_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FAR", FAR)


@pytest.fixture
def pace() -> Pace:
    return Pace(256, 1024, 16)


def far(pace: Pace, seconds: float, size: int = 0) -> Pace:
    for _ in range(4):
        pace.stored(seconds, size)
    return pace


def test_batches_halve_from_the_second_late_one_on_and_double_otherwise(pace: Pace) -> None:
    pace.fell_behind(100)
    assert pace.changesets == 256, "one may have met a server that was away"
    for expected in (50, 25, 12, 6, 3, 1, 1):
        pace.fell_behind(min(100, pace.changesets))
        assert pace.changesets == expected
    pace.went_well(0.5)
    assert pace.changesets == 1, "twice as many might not fit"
    for expected in (2, 4, 8, 16, 32, 64, 128, 256, 256):
        pace.went_well(0.1)
        assert pace.changesets == expected


def test_batches_grow_with_the_time_of_a_put_up_to_a_limit(pace: Pace) -> None:
    assert (pace.changesets, pace.is_far) == (256, False), "nothing is known yet"
    sizes = [(far(pace, seconds).changesets, pace.is_far) for seconds in (0.004, 0.0249, 0.05, 0.18, 5.0)]
    assert sizes == [(256, False), (256, False), (512, True), (1024, True), (1024, True)]


def test_the_share_of_a_principal_grows_with_the_time_of_a_put(pace: Pace) -> None:
    assert [far(pace, seconds).share for seconds in (0.004, 0.0249, 0.05, 0.18)] == [16, 16, 32, 115]
    assert far(Pace(256, 255, 16), 5.0).share == 16, "where batches do not grow either"


def test_batches_that_grew_are_halved_too_and_grow_again_by_doubling(pace: Pace) -> None:
    assert pace.most == 1024
    for _ in range(2):
        pace.fell_behind(1024)
    assert (pace.changesets, pace.most) == (256, 512)
    pace.fell_behind(512)
    assert (pace.changesets, pace.most) == (256, 256)
    for expected in (512, 1024):
        pace.went_well(0.1)
        assert (pace.changesets, pace.most) == (256, expected)
    assert Pace(256, 255, 16).most == 256


def test_no_more_is_claimed_than_fits_into_a_batch_by_its_bytes(pace: Pace) -> None:
    pace.took(1024, 200)
    assert (pace.changesets, pace.most) == (256, 400)
    pace.took(400, 30)
    assert (pace.changesets, pace.most) == (256, 256)
    pace.took(256, 256)
    assert pace.most == 1024


def test_no_store_is_far_where_batches_for_one_would_be_smaller() -> None:
    pace = far(Pace(256, 255, 16), 5.0)
    assert (pace.changesets, pace.is_far) == (256, False)


def test_a_store_is_far_by_its_quickest_puts_without_their_bytes(pace: Pace) -> None:
    far(pace, 0.1).stored(0.004, 0)
    assert not pace.is_far, "a busy machine delayed the others"
    assert not far(pace, 1.0, size=8 << 20).is_far


def test_a_put_of_many_bytes_says_nothing_of_the_distance(pace: Pace) -> None:
    """Without the time of their bytes on a slow line, packs of megabytes would have arrived before they were sent."""
    far(pace, 0.2)
    pace.stored(0.25, 5 << 20)
    assert pace.is_far and pace.changesets == 1024
    pace.stored(0.01, 5 << 20)
    assert not pace.is_far, "whatever its bytes, it took no time"


def test_batches_that_were_late_grow_to_what_a_far_store_allows(pace: Pace) -> None:
    far(pace, 0.18)
    for _ in range(2):
        pace.fell_behind(600)
    assert pace.changesets == 300
    for expected in (600, 1024):
        pace.went_well(0.1)
        assert pace.changesets == expected
