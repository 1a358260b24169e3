"""Whether landing costs more in a large repository: the same changes on one of 200,000 files and on one of 2,000.

Directories are of the same width, and every changed path has the same depth. The files that nobody changes are small:
their contents are never read. Two kinds of changes: `same`, the very same paths, which exist in both repositories; and
`spread`, as many changes, over the whole of the large repository, where most directories are met for the first time.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from benchmarks.client import define
from benchmarks.figures import Figure
from benchmarks.landing import Say, site
from benchmarks.ratios import Question, compare
from benchmarks.workload import Workload

GOAL = 1.5
SMALL = Workload(files=2_000, width=50, fan=50, slice_leaves=5, file_bytes=256)


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
        figures = []
        for first_run, kind, source in ((0, "same", small), (rounds, "spread", large)):
            question = Question(f"scaling, {kind} changes", "files in the repository, large against 2,000", GOAL)
            figures += compare(question, (few, small), (many, source), rounds, first_run, say)
        return figures
