"""What landing costs on one stack against another: two that run at once and take turns.

So what else the machine does meets both; a ratio is of neighbouring rounds, and who goes first alternates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import Figure, rounded
from benchmarks.landing import Phase, Site
from benchmarks.workload import Workload

PHASE = Phase("ratio", 4, 250, 1000)


@dataclass(frozen=True)
class Question:
    """What is compared, and how much more it may cost."""

    name: str
    axis: str
    goal: float


def compare(
    question: Question,
    plain: tuple[Site, Workload],
    hard: tuple[Site, Workload],
    rounds: int,
    first_run: int,
    say: Callable[[str], None],
    phase: Phase | None = None,
) -> list[Figure]:
    """Land the same number of changes on both stacks, in turns; return the ratios of time and of server CPU.

    Every run of a workload changes its files again, so that no change is one that the repository holds already.
    """
    measured: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for number in range(rounds):
        say(f"{question.name}: round {number + 1} of {rounds}")
        turns = [plain, hard]
        rows = {
            id(turn): _land(*turn, first_run + number, phase or PHASE) for turn in turns[:: -1 if number % 2 else 1]
        }
        measured.append((rows[id(plain)], rows[id(hard)]))
    return [
        _figure(question, what, field, hard[1].seed, measured, invert)
        for what, field, invert in (("time", "landed_per_s", True), ("server CPU", "cpu_us", False))
    ]


def _land(site: Site, workload: Workload, run_number: int, phase: Phase) -> dict[str, Any]:
    outcome, server = site.land(phase, list(workload.changesets(phase.count, run_number)))
    return {
        "landed_per_s": rounded(outcome.landed / outcome.seconds),
        "cpu_us": server["cpu_us"]["all"],
        "waited": outcome.waited,
        "server": server,
    }


def _figure(
    question: Question,
    what: str,
    field: str,
    seed: int,
    measured: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    invert: bool,
) -> Figure:
    ratios = tuple(plain[field] / hard[field] if invert else hard[field] / plain[field] for plain, hard in measured)
    details = {
        "goal": question.goal,
        "plain": [plain[field] for plain, _ in measured],
        "hard": [hard[field] for _, hard in measured],
        "waited": sum(row["waited"] for pair in measured for row in pair),
        "server": {
            "plain": [plain["server"] for plain, _ in measured],
            "hard": [hard["server"] for _, hard in measured],
        },
    }
    return Figure(f"{question.name}, {what}", question.axis, "ratio", seed, ratios, details)
