"""A clone store has the history of a slice, or of the whole, byte for byte, wherever and whenever it is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.clones.clone import Clone
from storage.clones.clones import Clones
from storage.operations.slices import define
from storage.repository import Repository
from tests.support.world import World


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(settings))


def git_in(clone: Clone, *arguments: str) -> str:
    return clone._git._git.output(*arguments).decode().strip()


def land(world: World, files: dict, **more) -> None:
    world.put(files, **more)
    world.work()


def test_a_slices_store_has_its_files_and_nothing_else(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", ["docs/", "README"])
    land(world, {"docs/a": b"a\n", "README": b"read\n", "secret/s": b"secret\n"})
    land(world, {"secret/s": b"secret 2\n"})
    land(world, {"docs/a": b"a2\n"}, message="Second\n\nSigned-off-by: Ada <ada@example.org>\n")
    clone = Clones(world.repo, tmp_path / "clones").of_slice(docs)
    with clone.ready(world.repo.view.head().applied) as path:
        assert path == clone.path
        assert git_in(clone, "ls-tree", "-r", "--name-only", "main").split() == ["README", "docs/a"]
        assert git_in(clone, "rev-list", "--count", "main") == "2"
        git_in(clone, "fsck", "--strict")


def test_the_whole_has_the_chains_own_commits(world: World, tmp_path: Path) -> None:
    land(world, {"docs/a": b"a\n", "secret/s": b"secret\n"})
    land(world, {"secret/s": b"secret 2\n"})
    clone = Clones(world.repo, tmp_path / "clones").whole()
    clone.catch_up(world.repo.view.head().applied)
    assert git_in(clone, "rev-parse", "main") == world.repo.view.head().tip
    assert git_in(clone, "rev-list", "--count", "main") == "3"
    git_in(clone, "fsck", "--strict")
    assert clone.chain_of(ObjectId(world.tip)) == world.tip
