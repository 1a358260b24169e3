"""Clone stores take no more disk than they may, and none goes that somebody uses."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from storage.base.settings import Settings
from storage.clones.clone import Clone, DiskFull
from storage.clones.clones import Clones
from storage.clones.git_store import GitStore
from storage.clones.locks import Busy, locked
from storage.clones.stores import IN_USE, PACKING, USED, WRITING
from storage.git.run_git import GitFailed
from storage.operations.slices import define
from storage.repository import Repository
from storage.view.snapshot import Slice
from tests.support.clones import clone_of, commits_of, fsck, git, land, main_of, objects_of
from tests.support.world import World


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(replace(settings, clone_bytes=1, clone_wait=5.0)))


def slices(world: World, *names: str) -> list[Slice]:
    made = [define(world.repo, name, [f"{name}/"]) for name in names]
    land(world, {f"{name}/f": b"%s\n" % name.encode() for name in names})
    return made


def names_in(folder: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in folder.iterdir()}


def test_the_store_that_was_used_longest_ago_goes_first_and_none_in_use(world: World, tmp_path: Path) -> None:
    one, two, three = slices(world, "one", "two", "three")
    clones = Clones(world.repo, tmp_path)
    seq = world.repo.view.head().applied
    with clones.of_slice(one).ready(seq) as path:
        for each in (two, three):
            clone = clones.of_slice(each)
            clone.catch_up(seq)
            clone.wait()
        # The limit is one byte: whatever nobody uses has to go, but for the one that was just made.
        assert names_in(tmp_path) == {one.id, three.id}
        assert git(path, "rev-parse", "main^{tree}")
        clones.make_room()
        assert names_in(tmp_path) == {one.id}
    clones.make_room()
    assert names_in(tmp_path) == set()
    with clones.of_slice(one).ready(seq) as path:
        fsck(clones.of_slice(one))
        assert main_of(clones.of_slice(one)) == git(path, "rev-parse", "main")


def test_only_so_many_go_as_take_too_much(world: World, tmp_path: Path) -> None:
    made = slices(world, "one", "two", "three")
    roomy = world.reopened(clone_bytes=1 << 30)
    for age, each in enumerate(made):
        clone = clone_of(roomy, tmp_path, each, roomy.repo)
        clone.wait()
        os.utime(clone.folder / USED, (1000 - age, 1000 - age))
    sizes = [
        sum(file.stat().st_size for file in (path / "repository.git" / "objects" / "pack").iterdir())
        for path in tmp_path.iterdir()
    ]
    Clones(world.reopened(clone_bytes=sum(sizes) - 1).repo, tmp_path).make_room()
    assert names_in(tmp_path) == {made[0].id, made[1].id}


def test_a_store_that_is_written_or_packed_stays(world: World, tmp_path: Path) -> None:
    [one] = slices(world, "one")
    roomy = world.reopened(clone_bytes=1 << 30)
    clone = clone_of(roomy, tmp_path, one, roomy.repo)
    clone.wait()
    for name in (WRITING, PACKING, IN_USE):
        with locked(clone.folder / name):
            Clones(world.repo, tmp_path).make_room()
            assert clone.path.exists()
    Clones(world.repo, tmp_path).make_room()
    assert not clone.path.exists()


def test_who_cannot_wait_is_told_that_it_is_busy_and_the_work_goes_on(world: World, tmp_path: Path) -> None:
    [one] = slices(world, "one")
    hasty = world.reopened(clone_bytes=1 << 30, clone_wait=0.05)
    seq = world.repo.view.head().applied
    clone = Clones(hasty.repo, tmp_path).of_slice(one)
    may_go_on, is_there = threading.Event(), threading.Event()
    create = GitStore.create

    def slow(store: GitStore) -> None:
        is_there.set()
        assert may_go_on.wait(60)
        create(store)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GitStore, "create", slow)
        with pytest.raises(Busy):
            clone.catch_up(seq)
        assert is_there.wait(60)
        may_go_on.set()
        run, _ = clone._stores.runs.join(clone.folder.name, clone._bring_up)
        run.result(60)
    assert len(commits_of(clone)) == 1


def test_a_full_disk_is_told_and_no_store_is_blamed_for_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [one] = slices(world, "one")
    roomy = world.reopened(clone_bytes=1 << 30)
    clone = clone_of(roomy, tmp_path, one, roomy.repo)
    before = objects_of(clone)
    land(world, {"one/f": b"more\n"})

    def full(store: GitStore, parts: object, imported: bool) -> None:
        raise GitFailed("index-pack", 128, "fatal: write error: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(GitStore, "add_pack", full)
        with pytest.raises(DiskFull):
            clone.catch_up(world.repo.view.head().applied)
    assert objects_of(clone) == before
    clone.catch_up(world.repo.view.head().applied)
    assert len(commits_of(clone)) == 2


def test_packs_are_merged_behind_the_catch_ups_and_readers_do_not_notice(world: World, tmp_path: Path) -> None:
    [one] = slices(world, "one")
    roomy = world.reopened(clone_bytes=1 << 30, clone_packs=4)
    for step in range(11):
        land(world, {"one/f": b"%d\n" % step, f"one/{step}": b"new\n"})
        clone: Clone = clone_of(roomy, tmp_path, one, roomy.repo)
        clone.wait()
    packs = list((clone.path / "objects" / "pack").glob("*.pack"))
    assert len(packs) < 8 and (clone.path / "objects" / "pack" / "multi-pack-index").exists()
    assert len(commits_of(clone)) == 12
    fsck(clone)


def test_a_server_that_is_away_costs_no_store(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [one] = slices(world, "one")
    roomy = world.reopened(clone_bytes=1 << 30)
    clone = clone_of(roomy, tmp_path, one, roomy.repo)
    clone.wait()
    inode = clone.path.stat().st_ino
    land(world, {"one/f": b"more\n"})

    def away(store: GitStore, parts: object, imported: bool) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(GitStore, "add_pack", away)
        with pytest.raises(ConnectionRefusedError):
            clone.catch_up(world.repo.view.head().applied)
    clone.catch_up(world.repo.view.head().applied)
    assert clone.path.stat().st_ino == inode and len(commits_of(clone)) == 2
