"""Whether landing costs more where many slices share what is changed: directories of 1,000 slices against those of one.

Slices are views of the one tree, so a change to a directory that 1,000 of them hold is one change.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from benchmarks.client import define_all
from benchmarks.figures import Figure
from benchmarks.landing import Say, site
from benchmarks.ratios import Question, compare
from benchmarks.scaling import SMALL

GOAL = 1.2
SLICES = 1_000


def run(
    folder: Path, say: Say, *, slices: int = SLICES, rounds: int = 5, seed: int = 1, s3: str = "auto"
) -> list[Figure]:
    """Measure in rounds. Raises Refused and Disproved."""
    workload = dataclasses.replace(SMALL, seed=seed)
    directories = sorted({path for paths in workload.slices().values() for path in paths})
    with (
        site(workload, folder / "alone.git", say, s3=s3, with_flower=False) as alone,
        site(workload, folder / "shared.git", say, s3=s3, with_flower=False) as shared,
    ):
        say(f"defining {slices:,} slices")
        define_all(shared.client, {f"sharer{number}": directories for number in range(slices)})
        question = Question(
            f"sharing, {slices:,} slices", f"slices that hold a directory, {slices:,} against one", GOAL
        )
        return compare(question, (alone, workload), (shared, workload), rounds, 0, say)
