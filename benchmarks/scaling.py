"""Whether landing costs more in a large repository: the same changes on one of 200,000 files and on one of 2,000.

Both stacks run at once and take turns, so that what else the machine does meets both; the ratio is of neighbouring
rounds. Directories are of the same width, and every changed path has the same depth. The files that nobody changes
are small: their contents are never read. Two kinds of changes: `same`, the very same paths, which exist in both
repositories; and `spread`, as many changes, over the whole of the large repository, where most directories are met for
the first time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.client import define
from benchmarks.figures import Figure, rounded
from benchmarks.landing import Phase, Say, Site, site
from benchmarks.workload import Workload

GOAL = 1.5
SMALL = Workload(files=2_000, width=50, fan=50, slice_leaves=5, file_bytes=256)
PHASE = Phase("scaling", 4, 250, 1000)


def run(
    folder: Path, say: Say, *, large_files: int = 200_000, rounds: int = 5, seed: int = 1, s3: str = "auto"
) -> list[Figure]:
    """Measure both kinds in rounds. Raises Refused and Disproved."""
    small = dataclasses.replace(SMALL, seed=seed)
    # Eight slices, as the small one has.
    leaves = large_files // small.width // 8
    large = dataclasses.replace(small, files=large_files, slice_leaves=leaves, team="wide")
    with (
        site(small, folder / "small.git", say, s3=s3, with_flower=False) as few,
        site(large, folder / "large.git", say, s3=s3, with_flower=False) as many,
    ):
        define(many.client, small)
        return [
            figure
            for kind, source in (("same", small), ("spread", large))
            for figure in _compare(kind, small, source, (few, many), say, rounds)
        ]


def _compare(
    kind: str, small: Workload, source: Workload, sites: tuple[Site, Site], say: Say, rounds: int
) -> list[Figure]:
    """Land changes of `small` on the small repository and changes of `source` on the large one, in turns."""
    few, many = sites
    measured: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for number in range(rounds):
        say(f"scaling, {kind} changes: round {number + 1} of {rounds}")
        # Every run changes files again, so that no change is one that the repository holds already.
        run_number = number + (rounds if kind == "spread" else 0)
        turns = [(few, small), (many, source)]
        # Who goes first alternates too.
        rows = {id(place): _land(place, load, run_number) for place, load in turns[:: -1 if number % 2 else 1]}
        measured.append((rows[id(few)], rows[id(many)]))
    return [
        _figure(f"scaling, {kind} changes, {what}", name, source, measured, invert)
        for what, name, invert in (("time", "landed_per_s", True), ("server CPU", "cpu_us", False))
    ]


def _land(place: Site, workload: Workload, run_number: int) -> dict[str, Any]:
    outcome, server = place.land(PHASE, list(workload.changesets(PHASE.count, run_number)))
    return {
        "landed_per_s": rounded(outcome.landed / outcome.seconds),
        "cpu_us": server["cpu_us"]["all"],
        "waited": outcome.waited,
        "server": server,
    }


def _figure(
    name: str, field: str, source: Workload, measured: Sequence[tuple[dict[str, Any], dict[str, Any]]], invert: bool
) -> Figure:
    """Return the ratio of costs a changeset, large to small, of each pair of rounds."""
    ratios = tuple(few[field] / many[field] if invert else many[field] / few[field] for few, many in measured)
    details = {
        "goal": GOAL,
        "small": [few[field] for few, _ in measured],
        "large": [many[field] for _, many in measured],
        "waited": sum(each["waited"] for pair in measured for each in pair),
        "server": {
            "small": [few["server"] for few, _ in measured],
            "large": [many["server"] for _, many in measured],
        },
    }
    return Figure(name, "files in the repository, large against 2,000", "ratio", source.seed, ratios, details)
