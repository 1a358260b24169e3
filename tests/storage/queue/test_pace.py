"""Batches become smaller while servers are too slow for them, and larger again."""

from __future__ import annotations

from storage.queue.pace import Pace


def test_batches_halve_from_the_second_late_one_on_and_double_otherwise() -> None:
    pace = Pace(256)
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
