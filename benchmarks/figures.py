"""What a benchmark returns: figures that say what they are, and that hold only where the result was proved."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


class Disproved(Exception):
    """The result of a benchmark is not what it must be, so its times mean nothing."""


@dataclass(frozen=True)
class Figure:
    """One measured quantity: the median of its rounds."""

    name: str
    axis: str  # what is varied or counted
    unit: str
    seed: int
    rounds: tuple[float, ...]
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    def to_json(self) -> dict[str, Any]:
        """Return the figure for the JSON output."""
        return {
            "name": self.name,
            "axis": self.axis,
            "unit": self.unit,
            "seed": self.seed,
            "value": rounded(self.value),
            "rounds": [rounded(value) for value in self.rounds],
            **self.details,
        }


def at_least(goal: float, floor: float | None = None) -> dict[str, Any]:
    """Return the details of a figure that should not be below a goal; below its floor what is built is not done."""
    return {"goal": goal, "goal_is": "at least"} | ({} if floor is None else {"floor": floor})


def at_most(goal: float) -> dict[str, Any]:
    """Return the details of a figure that should not be above a goal."""
    return {"goal": goal, "goal_is": "at most"}


def prove(what: str, tree: str, expected: str) -> None:
    """Raise Disproved unless the trees are equal."""
    if tree != expected:
        raise Disproved(f"{what}: the tree is {tree}, it must be {expected}")


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p90 and p99 (nearest rank) of seconds, in milliseconds; nothing where nothing was measured."""
    ranked = sorted(values)
    return {
        f"p{part}": rounded(1000 * ranked[math.ceil(part / 100 * len(ranked)) - 1]) for part in (50, 90, 99) if ranked
    }


def rounded(value: float, digits: int = 4) -> float:
    """Return a value with the digits that a measurement may claim."""
    return float(f"{value:.{digits}g}")
