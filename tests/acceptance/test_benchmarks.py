"""The benchmarks prove their results before they claim a time; here on a handful of changesets."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.figures import Disproved, prove
from benchmarks.observe import Spent, cpu_between
from benchmarks.peers import git_fast_import, git_merge_tree, git_push_race, pygit2_loose
from benchmarks.repos import Judge, Repo
from benchmarks.workload import Workload

SMALL = Workload(files=200, width=10, fan=5, slice_leaves=5)


@pytest.fixture
def seed_repo(tmp_path: Path) -> Repo:
    return Repo.create(tmp_path / "seed.git", SMALL)


def test_the_input_is_pinned_by_its_hash():
    assert SMALL.digest(50) == "9b2c310f2d54c31600a3318949f483dbe7a70e7db6df5a25252285f233dafdb9"
    assert SMALL.digest(50) != Workload(files=200, seed=2, width=10, fan=5, slice_leaves=5).digest(50)


def test_a_larger_repository_holds_the_files_of_a_smaller_one():
    larger = Workload(files=400, width=10, fan=5, slice_leaves=5)
    assert dict(SMALL.tree()).items() <= dict(larger.tree()).items()


def test_no_two_changesets_of_a_run_share_a_file_and_each_keeps_its_slice():
    changesets = list(SMALL.changesets(100))
    touched = [path for each in changesets for path, _ in each.files]
    assert len(touched) == len(set(touched)) == 200
    slices = SMALL.slices()
    assert all(path.startswith(tuple(slices[each.slice])) for each in changesets for path, _ in each.files)
    assert {each.slice for each in changesets} == set(slices)
    with pytest.raises(ValueError, match="101 changesets need 202 files"):
        list(SMALL.changesets(101))


def test_two_judges_agree_on_the_expected_tree(tmp_path: Path, seed_repo: Repo):
    changesets = list(SMALL.changesets(20, run=1))
    assert Judge(tmp_path / "judge.git", SMALL).land(changesets) == seed_repo.expected_tree("main", changesets)


@pytest.mark.parametrize("peer", [git_fast_import, pygit2_loose, git_merge_tree], ids=lambda peer: peer.__name__)
def test_a_peer_lands_every_changeset_and_its_tree_is_the_expected_one(
    peer: ModuleType, seed_repo: Repo, tmp_path: Path
):
    if peer is git_merge_tree and not git_merge_tree.available():
        pytest.skip("git merge-tree --write-tree needs Git 2.38")
    assert peer.run(seed_repo, tmp_path, SMALL, count=7).details["landed"] == 7


def test_the_push_race_ends_with_the_tree_of_those_who_won(seed_repo: Repo, tmp_path: Path):
    raced = git_push_race.run(seed_repo, tmp_path, SMALL, seconds=60, clones=3, most=6)
    assert raced.details["landed"] == 6
    assert raced.details["pushes"] >= 6


def test_a_race_that_nobody_won_has_no_figure(seed_repo: Repo, tmp_path: Path):
    with pytest.raises(Disproved, match="no push won in 0 s"):
        git_push_race.run(seed_repo, tmp_path, SMALL, seconds=0, clones=2, most=4)


def test_what_a_process_used_is_unknown_where_it_died_in_between():
    before = {"api": Spent(1, 2.0), "worker": Spent(2, 1.0)}
    assert cpu_between(before, {"api": Spent(1, 2.5), "worker": Spent(2, 1.25)}, 1000) == {
        "api": 500,
        "worker": 250,
        "all": 750,
    }
    for after in ({"api": Spent(1, 2.5), "worker": Spent(3, 0.1)}, {"api": Spent(1, 2.5)}):
        with pytest.raises(Disproved, match="worker did not live"):
            cpu_between(before, after, 1000)


def test_a_wrong_tree_has_no_figure(seed_repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Repo, "expected_tree", lambda *_: "0" * 40)
    with pytest.raises(Disproved, match=r"it must be 0{40}"):
        git_fast_import.run(seed_repo, tmp_path, SMALL, count=3)
    with pytest.raises(Disproved):
        prove("a peer", "a", "b")
