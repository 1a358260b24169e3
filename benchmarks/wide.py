"""Whether landing costs more in a repository of a million files, for changes in as many directories.

Two stacks take turns, one with 10,000 files and one with a million; directories of files have as many files in both. In
the small one every 200 changesets touch each of its 400 directories of files. In the large one as many changesets touch
400 of its 40,000: `together`, where a run stays in the same ones, whole neighbourhoods that no run before it has
touched; and `spread`, where every 200 changesets touch 400 others, anywhere.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import Import
from benchmarks.figures import Figure
from benchmarks.landing import Say, site
from benchmarks.ratios import Question, compare
from benchmarks.workload import Changeset, Workload, text

GOAL = 1.3
# Fewer than the least have no other directories to spread to.
FILES, SMALL_FILES, LEAST_FILES = 1_000_000, 10_000, 50_000
SLICES, WIDTH = 8, 25
# Contents that nobody reads are short: the import is not what is measured. It goes in large changesets.
_FILE_BYTES = 64
_IMPORT = Import(puts=5_000, changesets=2, connections=2)


@dataclass(frozen=True)
class Wide(Workload):
    """A workload whose changesets go through `directories` directories of files, and then through as many again."""

    width: int = WIDTH
    fan: int = 100
    file_bytes: int = _FILE_BYTES
    directories: int = 400
    spread: bool = False  # others each time, instead of the same ones

    @classmethod
    def of(cls, files: int, directories: int, seed: int, spread: bool = False) -> Wide:
        """Return one with so many files in SLICES slices, each of which has a pair of the directories, or several."""
        return cls(files, seed, slice_leaves=files // WIDTH // SLICES, directories=directories, spread=spread)

    def changesets(self, count: int, run: int = 0) -> Iterator[Changeset]:
        """Yield `count` changesets, no two of which touch the same file.

        Raises ValueError where there are not enough files.
        """
        each = self.directories // 2
        if count > each * self.width:
            raise ValueError(f"{count} changesets need more than the {self.width} files of a directory")
        rounds = -(-count // each)
        leaves = [self._leaves(number, run, rounds) for number in range(SLICES)]
        for turn in range(rounds):
            pairs = []
            for number, own in enumerate(leaves):
                now = own[turn]
                pairs += [(number, pair) for pair in zip(now[::2], now[1::2], strict=True)]
            random.Random(f"{self.seed}/wide/{run}/{turn}").shuffle(pairs)
            for position, (number, pair) in enumerate(pairs[: count - turn * each], turn * each):
                indexes = [leaf * self.width + (run * rounds + turn) % self.width for leaf in pair]
                files = [(self.path(i), text(f"{self.seed}/run/{run}/file/{i}", self.change_bytes)) for i in indexes]
                yield Changeset(position, self._slice(number), f"Run {run}, change {position}", tuple(files))

    def _leaves(self, number: int, run: int, rounds: int) -> list[list[int]]:
        """Return the directories of a slice that each round of a run touches."""
        first, per = number * self.slice_leaves, self.directories // SLICES
        draw = random.Random(f"{self.seed}/wide/{run}/slice/{number}")
        if not self.spread or self.slice_leaves < per * rounds:
            start = first + draw.randrange(self.slice_leaves // per) * per
            return [list(range(start, start + per))] * rounds
        drawn = draw.sample(range(first, first + self.slice_leaves), per * rounds)
        return [drawn[at : at + per] for at in range(0, per * rounds, per)]


def run(
    folder: Path,
    say: Say,
    *,
    files: int = FILES,
    small_files: int = SMALL_FILES,
    rounds: int = 5,
    seed: int = 1,
    s3: str = "auto",
) -> list[Figure]:
    """Measure both kinds in rounds. Raises Refused and Disproved."""
    directories = small_files // WIDTH
    small = Wide.of(small_files, directories, seed)
    large = {spread: Wide.of(files, directories, seed, spread) for spread in (False, True)}
    with (
        site(small, folder / "small.git", say, s3=s3, with_flower=False, how=_IMPORT) as few,
        site(large[False], folder / "large.git", say, s3=s3, with_flower=False, how=_IMPORT) as many,
    ):
        figures = []
        for first_run, spread in ((0, False), (rounds, True)):
            kind = "spread" if spread else "together"
            axis = f"cost of a changeset, {files:,} files to {small_files:,}, {directories} directories a batch"
            question = Question(f"wide, {kind}", axis, GOAL)
            figures += compare(question, (few, small), (many, large[spread]), rounds, first_run, say)
        return figures
