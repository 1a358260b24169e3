"""Clone stores of a repository whose history was imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.base.ids import oid_of
from storage.base.settings import Settings
from storage.importing import import_history
from storage.operations.slices import define
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.clones import clone_of, commits_of, expected_tree, git, land, main_of
from tests.support.git_repository import GitRepository
from tests.support.histories import large, odd
from tests.support.world import World


@pytest.fixture
def source(tmp_path: Path) -> GitRepository:
    return large(tmp_path / "source", 40)


def imported(settings: Settings, source: GitRepository) -> World:
    made = Repository(settings)
    import_history(made, source.path)
    run_upkeep(made)
    return World(made, define(made, "all", ["/"]))


def test_the_whole_has_the_imported_history_with_its_ids_and_tags(
    settings: Settings, source: GitRepository, tmp_path: Path
) -> None:
    world = imported(settings, source)
    whole = clone_of(world, tmp_path / "clones", None)
    assert main_of(whole) == source.git("rev-parse", "HEAD")
    assert commits_of(whole) == source.git("rev-list", "HEAD").split()
    tags = ("for-each-ref", "--format=%(objectname) %(refname)", "refs/tags")
    assert git(whole.path, *tags) == source.git(*tags) != ""
    landed = land(world, {"new": b"1\n"})
    whole.catch_up(world.repo.view.head().applied)
    assert main_of(whole) == landed and git(whole.path, "rev-parse", "main^") == source.git("rev-parse", "HEAD")
    assert git(whole.path, "fsck", "--no-dangling", "--no-progress") == ""
    again = clone_of(world, tmp_path / "others", None)
    assert main_of(again) == landed


def test_a_slice_begins_with_what_stands_at_the_imported_tip(
    settings: Settings, source: GitRepository, tmp_path: Path
) -> None:
    world = imported(settings, source)
    path = sorted(source.git("ls-tree", "-d", "--name-only", "HEAD").split("\n"))[0] + "/"
    part = define(world.repo, "part", [path])
    land(world, {"elsewhere": b"1\n"})
    landed = land(world, {path + "new": b"1\n"})
    clone, other = (clone_of(world, tmp_path / name, part) for name in ("clones", "others"))
    tip = source.git("rev-parse", "HEAD")
    assert git(clone.path, "rev-parse", "main^{tree}") == expected_tree(world, landed, part.paths)
    assert git(clone.path, "rev-parse", "main^^{tree}") == expected_tree(world, tip, part.paths)
    assert commits_of(clone) == commits_of(other) and len(commits_of(clone)) == 2
    assert git(clone.path, "log", "-1", "--format=%an %ae %at %B", "main^") == source.git(
        "log", "-1", "--format=%an %ae %at %B"
    )
    assert clone.chain_of(oid_of(git(clone.path, "rev-parse", "main^"))) == oid_of(tip)
    assert git(clone.path, "fsck", "--strict", "--no-progress") == ""


def test_what_is_odd_in_an_imported_history_breaks_no_store(settings: Settings, tmp_path: Path) -> None:
    source = odd(tmp_path / "source")
    world = imported(settings, source)
    for number in range(2):
        land(world, {f"new{number}": b"1\n"})
        for of in (None, world.all):
            assert main_of(clone_of(world, tmp_path / "clones", of))
    assert git(clone_of(world, tmp_path / "clones", None).path, "rev-parse", "main~2") == source.git(
        "rev-parse", "HEAD"
    )
