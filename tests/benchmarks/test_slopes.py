"""A slope is told from noise that remembers, from a saw, and from a cache that fills up to its bound."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from benchmarks.soak.slopes import FEWEST, Flatness, Trend, judge, theil_sen, thin, trend, troughs

LEVEL = 100.0
ALLOWED, CLEAR = 5.0, 50.0
SAMPLES = 240  # of half an hour


def remembering(seed: int) -> Iterator[float]:
    """Yield noise in which each sample is nearly the one before, as memory is."""
    draw, at = random.Random(seed), 0.0
    while True:
        at = 0.8 * at + draw.gauss(0, 0.3)
        yield at


def series(level: Callable[[float], float], seed: int = 1) -> list[tuple[float, float]]:
    """Return half an hour of samples around `level` at each time (in hours)."""
    noise = remembering(seed)
    times = [0.5 * i / SAMPLES for i in range(SAMPLES)]
    return [(t, level(t) + next(noise)) for t in times]


def judged(points: list[tuple[float, float]]) -> Flatness:
    return judge(trend(points), ALLOWED, CLEAR)


@pytest.mark.parametrize("seed", range(10))
def test_noise_alone_is_flat_whatever_the_seed(seed: int):
    assert judged(series(lambda _: LEVEL, seed)) is Flatness.FLAT


@pytest.mark.parametrize("seed", range(10))
def test_growth_above_what_is_allowed_is_found_whatever_the_seed(seed: int):
    assert judged(series(lambda t: LEVEL + 15 * t, seed)) is Flatness.GROWS


@pytest.mark.long
def test_the_interval_has_the_truth_in_it_about_as_often_as_it_says():
    hits = 0
    for seed in range(50):
        found = trend(series(lambda t: LEVEL + 7 * t, seed))
        assert found is not None
        hits += found.low <= 7 <= found.high
    # Intervals for independent errors would have it in two of three.
    assert hits >= 43


def test_growth_that_is_small_is_flat_even_where_it_is_certain():
    found = trend(series(lambda t: LEVEL + 3 * t))
    assert found is not None and found.low > 0
    assert judge(found, ALLOWED, CLEAR) is Flatness.FLAT
    assert judge(found, 1.0, CLEAR) is Flatness.GROWS


def test_a_few_samples_far_off_move_nothing():
    points = series(lambda _: LEVEL)
    for i in range(5, SAMPLES, 12):
        points[i] = (points[i][0], 3 * LEVEL * i / SAMPLES)
    assert judged(points) is Flatness.FLAT


def test_a_cache_is_flat_only_if_it_is_full_when_the_warm_up_ends():
    filling = series(lambda t: LEVEL + 40 * min(t, 0.15))
    assert judged([(t, y) for t, y in filling if t >= 0.16]) is Flatness.FLAT
    assert judged([(t, y) for t, y in filling if t <= 0.16]) is Flatness.GROWS


def test_a_saw_is_judged_by_its_feet():
    def saw(t: float) -> float:
        return LEVEL + 100 * (t % 0.06)

    assert judged(troughs(series(saw), 12)) is Flatness.FLAT
    assert judged(troughs(series(lambda t: saw(t) + 30 * t), 12)) is Flatness.GROWS


def test_too_few_samples_say_nothing():
    points = [(float(i), LEVEL) for i in range(FEWEST)]
    assert judged(points) is Flatness.FLAT
    assert judged(points[1:]) is Flatness.UNCLEAR
    assert judged([]) is Flatness.UNCLEAR


@pytest.mark.parametrize(
    ("low", "slope", "high", "verdict"),
    [
        # What is allowed is 5, and 50 is where nothing is clear any more.
        (-1, 0, 1, Flatness.FLAT),
        (1, 2, 4, Flatness.FLAT),
        (1, 4, 20, Flatness.FLAT),
        (6, 7, 8, Flatness.GROWS),
        (1, 6, 100, Flatness.GROWS),
        (-1, 6, 20, Flatness.FLAT),
        (-1, 6, 60, Flatness.UNCLEAR),
        (-60, -50, -40, Flatness.FLAT),
    ],
)
def test_the_verdict_of_an_interval(low: float, slope: float, high: float, verdict: Flatness):
    assert judge(Trend(slope, low, high), ALLOWED, CLEAR) is verdict


def test_the_slope_is_the_median_of_all_pairs():
    assert theil_sen([0, 1, 2, 3], [1, 3, 5, 7]) == 2
    assert theil_sen([0, 1, 2, 3], [1, 3, 500, 7]) == 2
    assert theil_sen([1, 1], [0, 9]) == 0


def test_a_series_is_thinned_to_medians_and_keeps_its_ends_apart():
    points = [(float(i), float(i)) for i in range(100)]
    thinned = thin(points, 10)
    assert thinned == [(4.5 + 10 * i, 4.5 + 10 * i) for i in range(10)]
    assert thin(points, 100) == points
    assert len(thin([(0.0, 0.0)] * 61, 60)) == 60
