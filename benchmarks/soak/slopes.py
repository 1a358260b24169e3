"""Whether a series grows: a robust slope with an interval that knows how much neighbours resemble each other. Pure.

The slope is Theil and Sen's, the median of the slopes of all pairs of points: a garbage collection or a merge in some
samples does not move it. Memory is a series in which each sample is nearly the one before, so intervals for independent
errors would be far too narrow: this one is made by a bootstrap of residuals that remember as much as those seen do (the
sieve of Bühlmann 1997, of order one, with the memory corrected for what detrending hides of it).
"""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

Point = tuple[float, float]

# A series is thinned to so many points, each the median of its neighbours: the pairs are their square.
_POINTS = 40
_REPLICATES = 200
# Residuals remember at most so much of the one before; with more there would be no level at all.
_MOST_MEMORY = 0.98
# Steps before a made series begins, so that its start is as any of its points.
_RUN_IN = 100
_SEED = 1
FEWEST = 8
"""With fewer points no slope is judged."""


class Flatness(StrEnum):
    """The verdict on a series."""

    FLAT = "flat"
    GROWS = "GROWS"
    UNCLEAR = "UNCLEAR"  # too short or too noisy to tell
    OTHERS = "not ours"  # shown, and nobody's fault here


@dataclass(frozen=True, slots=True)
class Trend:
    """How a series moves, in its unit for one of the x axis."""

    slope: float
    low: float  # the ends of an interval that has the slope with 95 % confidence
    high: float


def trend(points: Sequence[Point]) -> Trend | None:
    """Return how a series moves, None where there are too few points to say."""
    thinned = thin(points, _POINTS)
    if len(thinned) < FEWEST:
        return None
    xs, ys = [x for x, _ in thinned], [y for _, y in thinned]
    slope = theil_sen(xs, ys)
    base = statistics.median(y - slope * x for x, y in thinned)
    residuals = [y - base - slope * x for x, y in thinned]
    errors = sorted(theil_sen(xs, made) for made in _alike(residuals, _REPLICATES))
    # As far as these series without any slope seem to have one, the slope may be off.
    cut = round(0.025 * _REPLICATES)
    return Trend(slope, slope - errors[-1 - cut], slope - errors[cut])


def theil_sen(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return the median of the slopes of all pairs; 0 where no two points differ in x."""
    slopes = [
        (ys[j] - ys[i]) / (xs[j] - xs[i]) for i in range(len(xs)) for j in range(i + 1, len(xs)) if xs[j] != xs[i]
    ]
    return statistics.median(slopes) if slopes else 0.0


def thin(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most `most` points: each the medians of a run of neighbours, of nearly equal length."""
    if len(points) <= most:
        return list(points)
    ends = [round(i * len(points) / most) for i in range(most + 1)]
    runs = [points[a:b] for a, b in itertools.pairwise(ends)]
    return [(statistics.median(x for x, _ in run), statistics.median(y for _, y in run)) for run in runs]


def troughs(points: Sequence[Point], windows: int) -> list[Point]:
    """Return the lowest point of each of so many windows of equal length along x.

    What is put in order from time to time, as a compaction does, is a saw: whether it grows is seen at its feet.
    """
    if not points:
        return []
    start, length = points[0][0], (points[-1][0] - points[0][0]) / windows
    lowest: dict[int, Point] = {}
    for x, y in points:
        window = min(windows - 1, int((x - start) / length)) if length else 0
        if window not in lowest or y < lowest[window][1]:
            lowest[window] = (x, y)
    return [lowest[window] for window in sorted(lowest)]


def judge(fit: Trend | None, allowed: float, clear: float) -> Flatness:
    """Judge a trend: `allowed` is the slope that is still called flat.

    It is flat where the interval has 0 in it or lies below what is allowed, unless it reaches so high (`clear`) that
    it says nothing.
    """
    if fit is None:
        return Flatness.UNCLEAR
    if fit.high <= allowed:
        return Flatness.FLAT
    if fit.low > 0:
        return Flatness.GROWS if fit.slope > allowed else Flatness.FLAT
    return Flatness.FLAT if fit.high <= clear else Flatness.UNCLEAR


def _alike(residuals: Sequence[float], count: int) -> Iterator[list[float]]:
    """Yield series that remember as residuals do, made of their steps drawn anew."""
    n = len(residuals)
    squares = sum(r * r for r in residuals)
    seen = sum(a * b for a, b in itertools.pairwise(residuals)) / squares if squares else 0.0
    # A line that was fitted takes memory along with it: of a memory m, about (2 + 4m) / n.
    memory = min(_MOST_MEMORY, max(0.0, (seen + 2 / n) / (1 - 4 / n)))
    steps = [b - memory * a for a, b in itertools.pairwise(residuals)]
    mean = statistics.fmean(steps)
    steps = [step - mean for step in steps]
    draw = random.Random(_SEED)
    for _ in range(count):
        at, made = 0.0, []
        for step in draw.choices(steps, k=_RUN_IN + n):
            at = memory * at + step
            made.append(at)
        yield made[_RUN_IN:]
