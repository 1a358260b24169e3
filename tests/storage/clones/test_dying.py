"""A process that dies in the middle leaves a store that is right, or one that the next one puts right."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from storage.base.settings import Settings, environment
from storage.clones import checkpoints
from storage.operations.slices import define
from storage.repository import Repository
from storage.view.snapshot import Slice
from tests.support.clones import clone_of, commits_of, fsck, git, land
from tests.support.dying_clone import STEPS
from tests.support.world import World

PROGRAM = [sys.executable, "-m", "tests.support.dying_clone"]
# What one step after another of a store's work may leave.
POINTS = [f"{when} {step}" for step in STEPS for when in ("before", "after")]


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(replace(settings, clone_packs=2, clone_checkpoint_commits=2, gc_grace=-1000.0)))


def filled(world: World, commits: int) -> Slice:
    docs = define(world.repo, "docs", ["docs/"])
    for step in range(commits):
        land(world, {"docs/a": b"%d\n" % step, f"docs/{step}": b"%d\n" % step, "x": b"%d\n" % step})
    return docs


def test_a_store_is_right_after_a_death_at_any_step(world: World, tmp_path: Path) -> None:
    docs = filled(world, 3)
    folder = checkpoints.folder_of(docs.id)
    first = clone_of(world, tmp_path / "right", docs)
    first.wait()
    right = commits_of(first)
    for number, point in enumerate(POINTS):
        # Without what the one before has left in the bucket.
        world.repo.bucket.delete(*world.repo.bucket.list_keys(folder))
        place = tmp_path / str(number)
        run = [*PROGRAM, str(place), "docs", point]
        settings = environment(replace(world.repo.settings, gc_grace=3600.0))
        died = subprocess.run(run, env=settings, capture_output=True, check=False)
        assert died.returncode == -signal.SIGKILL, died.stderr.decode()
        assert died.stdout.decode().splitlines()[-1] == point
        after = clone_of(world, place, docs)
        assert commits_of(after) == right, point
        fsck(after)
        # The next one does what was left undone, and nothing is left lying about.
        after.wait()
        after.keep()
        assert [path.name for path in after.path.rglob("*") if "tmp" in path.name or path.suffix == ".lock"] == []
        assert len(checkpoints.listed(world.repo.bucket, folder)) == 1, point
        assert len(list(world.repo.bucket.list_keys(folder))) == 3, point
        assert commits_of(clone_of(world, tmp_path / f"{number}-restored", docs)) == right


def test_a_store_that_was_killed_over_and_over_comes_to_its_end(world: World, tmp_path: Path) -> None:
    """Each process is killed at its second pack: what the first one brought is not lost."""
    docs = filled(world, 7)
    settings = environment(replace(world.repo.settings, clone_checkpoint_commits=0, gc_grace=3600.0))
    processes = 0
    while True:
        run = [*PROGRAM, str(tmp_path / "c"), "docs", "-"]
        with subprocess.Popen(run, env=settings, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            packs = 0
            for line in process.stdout:
                packs += line.strip() == "before add_pack"
                if packs == 2:
                    process.kill()
                    break
        processes += 1
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL and processes < 10
    assert processes > 2
    after = clone_of(world, tmp_path / "c", docs)
    assert commits_of(after) == commits_of(clone_of(world, tmp_path / "other", docs))
    assert git(after.path, "rev-list", "--count", "main") == "7"
    fsck(after)
