"""The changes of the wide benchmark: as many directories in a repository of any size, the same ones or others."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.wide import LEAST_FILES, SLICES, SMALL_FILES, WIDTH, Wide

DIRECTORIES = SMALL_FILES // WIDTH
SMALL = Wide.of(SMALL_FILES, DIRECTORIES, seed=1)
TOGETHER = Wide.of(1_000_000, DIRECTORIES, seed=1)
SPREAD = Wide.of(1_000_000, DIRECTORIES, seed=1, spread=True)
EVERY = DIRECTORIES // 2  # changesets that touch each directory once


def folders(workload: Wide, count: int, run: int = 0) -> list[str]:
    """Return the directories of files that changesets touch, one for each file."""
    return [path.rpartition("/")[0] for one in workload.changesets(count, run) for path, _ in one.files]


def touched(workload: Wide, run: int, turn: int) -> set[str]:
    """Return the directories that the changesets of one turn of a run touch."""
    return set(folders(workload, EVERY * (turn + 1), run)[turn * DIRECTORIES :])


@pytest.mark.parametrize("workload", [SMALL, TOGETHER, SPREAD], ids=["small", "together", "spread"])
def test_every_so_many_changesets_touch_each_of_400_directories_once(workload: Wide):
    for run in range(3):
        found = folders(workload, 5 * EVERY, run)
        for at in range(0, len(found), DIRECTORIES):
            assert set(Counter(found[at : at + DIRECTORIES]).values()) == {1}
            assert len(set(found[at : at + DIRECTORIES])) == 400


def test_together_stays_in_its_directories_and_each_run_has_others():
    assert touched(TOGETHER, 0, 0) == touched(TOGETHER, 0, 1)
    assert len(touched(TOGETHER, 0, 0) & touched(TOGETHER, 1, 0)) < DIRECTORIES / 4
    # Whole neighbourhoods: as few directories above them as can be.
    assert len({folder.split("/")[0] for folder in touched(TOGETHER, 0, 0)}) == SLICES


def test_spread_has_other_directories_each_time():
    turns = [touched(SPREAD, 0, turn) for turn in range(5)]
    assert len(set().union(*turns)) == 5 * DIRECTORIES
    assert len({folder.split("/")[0] for folder in turns[0]}) > 200
    least = Wide.of(LEAST_FILES, DIRECTORIES, seed=1, spread=True)
    assert len(set(folders(least, 5 * EVERY))) == 5 * DIRECTORIES


@pytest.mark.parametrize("workload", [SMALL, TOGETHER, SPREAD], ids=["small", "together", "spread"])
@pytest.mark.long
def test_no_two_changesets_of_a_run_share_a_file_and_each_keeps_its_slice(workload: Wide):
    slices, most = workload.slices(), EVERY * WIDTH if workload is not SPREAD else 5 * EVERY
    assert len(slices) == SLICES
    changesets = list(workload.changesets(most, run=2))
    paths = [path for each in changesets for path, _ in each.files]
    assert len(changesets) == most
    assert len(paths) == len(set(paths)) == 2 * most
    assert all(path.startswith(tuple(slices[each.slice])) for each in changesets for path, _ in each.files)
    assert [each.number for each in changesets] == list(range(most))


def test_changed_files_are_files_of_the_repository():
    there = {SMALL.path(index) for index in range(SMALL_FILES)}
    assert there.issuperset(path for each in SMALL.changesets(5 * EVERY) for path, _ in each.files)
    with pytest.raises(ValueError, match="5001 changesets need more than the 25 files of a directory"):
        list(SMALL.changesets(5001))
