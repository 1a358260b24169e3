"""Clone stores of a repository whose history was imported."""

from __future__ import annotations

import dataclasses
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storage.base.ids import oid_of
from storage.base.settings import Settings, environment
from storage.clones import checkpoints
from storage.clones.clone import Clone, StoreBroken
from storage.clones.clones import Clones
from storage.clones.id_table import FIRST, Row
from storage.clones.originals import Originals
from storage.git.run_git import Git, isolated_environment
from storage.importing import import_history
from storage.maintenance import collect
from storage.operations.slices import change_paths, define
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.clones import clone_of, commits_of, expected_tree, fsck, git, has_object, land, main_of, objects_of
from tests.support.git_repository import GitRepository
from tests.support.histories import large, odd
from tests.support.tangled import tangled
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


@pytest.fixture
def knotted(tmp_path: Path) -> GitRepository:
    """A history with merges of all kinds."""
    return tangled(tmp_path / "knotted", 90, 5)[0]


def rows_of(clone: Clone) -> list[Row]:
    return clone._table.rows(FIRST, clone._table.state().end, 10_000)


def raw(path: Path, *arguments: str) -> bytes:
    return Git(environment=isolated_environment(path)).output(*arguments)


def check(clone: Clone, source: GitRepository, paths: list[str]) -> None:
    """Check that a store has, up to the imported tip, the history that `git log` shows of these directories."""
    own = {row.chain.hex(): row.own.hex() for row in rows_of(clone)}
    tip = source.git("rev-parse", "HEAD")
    listed = source.git("rev-list", "--parents", tip, "--", *paths).splitlines()
    shown = [[own[commit] for commit in line.split()] for line in listed]
    there = git(clone.path, "rev-list", "--parents", own[tip]).splitlines()
    assert len(there) > 4
    assert {tuple(line.split()) for line in there} == {(each[0], *dict.fromkeys(each[1:])) for each in shown}
    form = ("log", "-z", "--format=%an %ae %ad %cn %ce %cd %e %B")
    told = (raw(clone.path, *form, own[tip]), raw(source.path / ".git", *form, tip, "--", *paths))
    assert sorted(told[0].split(b"\0")) == sorted(told[1].split(b"\0"))
    for line in listed:
        commit = line.split()[0]
        trees = [
            [row for row in told.split("\n") if row]
            for told in (
                git(clone.path, "ls-tree", "-r", own[commit]), source.git("ls-tree", "-r", commit, "--", *paths)
            )
        ]  # fmt: skip
        assert trees[0] == trees[1]


@pytest.mark.parametrize("paths", [["a/"], ["a/", "sub/"], ["ü/", "a.b/"]], ids=" ".join)
def test_a_slice_has_the_part_of_the_history_that_changed_something_in_it(
    settings: Settings, knotted: GitRepository, tmp_path: Path, paths: list[str]
) -> None:
    world = imported(settings, knotted)
    part = define(world.repo, "part", paths)
    clone, other = (clone_of(world, tmp_path / name, part) for name in ("clones", "others"))
    check(clone, knotted, paths)
    assert git(clone.path, "rev-list", "--merges", "--count", "main") != "0"
    assert commits_of(clone) == commits_of(other) and rows_of(clone) == rows_of(other)
    fsck(clone)
    # What lands goes on from there.
    before = main_of(clone)
    land(world, {"elsewhere": b"1\n"})
    landed = land(world, {paths[0] + "new": b"1\n"})
    clone, other = (clone_of(world, tmp_path / name, part) for name in ("clones", "late"))
    assert git(clone.path, "rev-parse", "main^@") == before and main_of(other) == main_of(clone)
    assert git(clone.path, "rev-parse", "main^{tree}") == expected_tree(world, landed, part.paths)
    fsck(clone)


def test_nothing_of_other_paths_is_in_the_store_of_a_slice(
    settings: Settings, knotted: GitRepository, tmp_path: Path
) -> None:
    world = imported(settings, knotted)
    part = define(world.repo, "part", ["a/"])
    clone = clone_of(world, tmp_path / "clones", part)
    reached = git(clone.path, "rev-list", "--objects", "--no-object-names", "main").split()
    assert objects_of(clone) == set(reached)
    theirs = set(knotted.git("rev-list", "--objects", "--no-object-names", "main").split())
    ours: set[str] = set()
    for commit in knotted.git("rev-list", "--full-history", "main", "--", "a/").split():
        ours |= {line.split()[2] for line in knotted.git("ls-tree", "-r", "-t", commit, "--", "a/").splitlines()}
    for oid in (objects_of(clone) & theirs) - ours:  # a commit that had nothing else, and its tree
        assert knotted.git("ls-tree", "--name-only", oid) in {"a", ""}
    hidden = theirs - ours - objects_of(clone)
    assert {knotted.git("cat-file", "-t", oid) for oid in hidden} == {"commit", "tree", "blob"}
    for oid in hidden:
        assert not has_object(clone, oid)


def test_the_ids_are_known_both_ways(settings: Settings, knotted: GitRepository, tmp_path: Path) -> None:
    world = imported(settings, knotted)
    part = define(world.repo, "part", ["a/"])
    clone, whole = clone_of(world, tmp_path, part), clone_of(world, tmp_path, None)
    tip = knotted.git("rev-parse", "main")
    for commit in knotted.git("rev-list", "main", "--", "a/").split():
        own = clone.projected(oid_of(commit))
        assert own is not None
        back = clone.chain_of(own)
        assert back is not None
        files = [git(clone.path, "ls-tree", "-r", own.hex()), knotted.git("ls-tree", "-r", back.hex(), "--", "a/")]
        assert files[0] == files[1]
        assert clone.chain_of(oid_of(commit)) is None or commit in commits_of(clone)
    assert clone.projected(oid_of(tip)) == oid_of(main_of(clone))
    for commit in knotted.git("rev-list", "main").split():
        assert whole.chain_of(oid_of(commit)) == whole.projected(oid_of(commit)) == oid_of(commit)
    landed = land(world, {"elsewhere": b"1\n"})
    clone = clone_of(world, tmp_path, part)
    assert clone.projected(oid_of(landed)) == clone.projected(oid_of(tip))


def test_a_store_begins_with_a_checkpoint_of_the_smallest_part(
    settings: Settings, knotted: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = imported(settings, knotted)
    part = define(world.repo, "part", ["a/"])
    first = clone_of(world, tmp_path / "first", part)
    first.wait()
    whole = clone_of(world, tmp_path / "first", None)
    whole.wait()
    assert len(checkpoints.listed(world.repo.bucket, checkpoints.folder_of(part.id))) == 1
    assert checkpoints.listed(world.repo.bucket, checkpoints.folder_of(None)) == []  # the import's packs are as good
    landed = land(world, {"a/new": b"1\n"})
    monkeypatch.setattr(Originals, "opened", lambda *args: pytest.fail("it begins with the checkpoint"))
    restored = clone_of(world, tmp_path / "restored", part)
    again = clone_of(world, tmp_path / "first", part)
    assert rows_of(restored) == rows_of(again) and commits_of(restored) == commits_of(again)
    assert objects_of(restored) == objects_of(again) and rows_of(again)[-1].chain == oid_of(landed)
    fsck(restored)


def test_a_slice_of_everything_has_all_that_changed_something(
    settings: Settings, knotted: GitRepository, tmp_path: Path
) -> None:
    world = imported(settings, knotted)
    clone, whole = clone_of(world, tmp_path, world.all), clone_of(world, tmp_path, None)
    own = {row.chain.hex(): row.own.hex() for row in rows_of(clone)}
    for chain, mine in own.items():
        assert git(clone.path, "rev-parse", f"{mine}^{{tree}}") == knotted.git("rev-parse", f"{chain}^{{tree}}")
    assert commits_of(whole) != commits_of(clone) and len(commits_of(clone)) > 30
    fsck(clone)


def test_a_definition_that_grows_adds_a_commit_and_one_that_shrinks_begins_anew(
    settings: Settings, knotted: GitRepository, tmp_path: Path
) -> None:
    world = imported(settings, knotted)
    part = define(world.repo, "part", ["a/"])
    first = commits_of(clone_of(world, tmp_path / "clones", part))
    grown = change_paths(world.repo, part.id, ["a/", "sub/"])
    for name in ("clones", "cold"):
        clone = clone_of(world, tmp_path / name, grown)
        assert commits_of(clone)[1:] == first
        assert git(clone.path, "log", "-1", "--format=%s") == "Change the paths of this slice"
        fsck(clone)
    shrunk = change_paths(world.repo, part.id, ["sub/"])
    for name in ("clones", "cold"):
        clone = clone_of(world, tmp_path / name, shrunk)
        check(clone, knotted, ["sub/"])
        assert not set(commits_of(clone)) & set(first)


def test_a_slice_that_was_there_before_the_import_has_the_same_history(
    settings: Settings, knotted: GitRepository, tmp_path: Path
) -> None:
    repo = Repository(settings)
    repo.prepare()
    run_upkeep(repo)
    before = define(repo, "before", ["a/"])
    import_history(repo, knotted.path)
    run_upkeep(repo)
    world = World(repo, define(repo, "all", ["/"]))
    after = define(world.repo, "after", ["a/"])
    clones = [clone_of(world, tmp_path, each) for each in (before, after)]
    assert commits_of(clones[0]) == commits_of(clones[1]) != []
    check(clones[0], knotted, ["a/"])


def test_a_slice_that_nothing_of_the_import_is_in_has_no_branch(
    settings: Settings, knotted: GitRepository, tmp_path: Path
) -> None:
    world = imported(settings, knotted)
    empty = define(world.repo, "empty", ["nowhere/"])
    clone = clone_of(world, tmp_path, empty)
    assert main_of(clone) == "" and objects_of(clone) == set()
    land(world, {"nowhere/a": b"1\n"})
    clone = clone_of(world, tmp_path, empty)
    assert len(commits_of(clone)) == 1
    fsck(clone)


def test_the_packs_of_the_history_are_fetched_once_and_again_where_they_are_damaged(
    settings: Settings, knotted: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = imported(dataclasses.replace(settings, clone_checkpoint_commits=0), knotted)
    fetched: list[str] = []
    fill = Originals._fill

    def noted(self: Originals, folder: Path, *args: Any) -> int:
        fetched.append(folder.name)
        return fill(self, folder, *args)

    monkeypatch.setattr(Originals, "_fill", noted)
    one, two = (define(world.repo, name, [name + "/"]) for name in ("a", "sub"))
    clones = [clone_of(world, tmp_path, each) for each in (one, two)]
    assert len(fetched) == 1
    check(clones[1], knotted, ["sub/"])
    [folder] = tmp_path.glob("imported-*")
    for pack in folder.rglob("*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(pack.read_bytes()[:200] + bytes(pack.stat().st_size - 200))
    clones[0].discard()
    again = clone_of(world, tmp_path, one)
    assert len(fetched) == 2
    check(again, knotted, ["a/"])
    # They go like stores do when there is no room, and come again.
    small = dataclasses.replace(world.repo.settings, clone_bytes=1)
    three = define(world.repo, "three", ["a.b/"])
    check(clone_of(world, tmp_path / "small", three, Repository(small)), knotted, ["a.b/"])
    Clones(Repository(small), tmp_path / "small").make_room()
    assert [path.name for path in (tmp_path / "small").iterdir() if path.is_dir()] == []


def test_a_death_at_any_step_leaves_what_the_next_one_puts_right(
    settings: Settings, knotted: GitRepository, tmp_path: Path
) -> None:
    world = imported(settings, knotted)
    part = define(world.repo, "part", ["a/"])
    land(world, {"a/new": b"1\n"})
    right = clone_of(world, tmp_path / "right", part)
    folder = checkpoints.folder_of(part.id)
    right.wait()
    for point in ("after make", "before add_pack", "after add_pack", "before add", "after add", "before put_verified"):
        world.repo.bucket.delete(*world.repo.bucket.list_keys(folder))
        place = tmp_path / point.replace(" ", "-")
        program = [sys.executable, "-m", "tests.support.dying_clone", str(place), "part", point]
        died = subprocess.run(program, env=environment(settings), capture_output=True, check=False)
        assert died.returncode == -signal.SIGKILL, died.stderr.decode()
        after = clone_of(world, place, part)
        assert commits_of(after) == commits_of(right) and rows_of(after) == rows_of(right), point
        assert objects_of(after) == objects_of(right)
        fsck(after)
        after.wait()  # it writes a checkpoint, with which the next one would begin


def test_what_an_older_version_made_is_not_gone_on_with(
    settings: Settings, knotted: GitRepository, tmp_path: Path
) -> None:
    world = imported(settings, knotted)
    part = define(world.repo, "part", ["a/"])
    right = clone_of(world, tmp_path / "right", part)
    old = clone_of(world, tmp_path / "old", part)
    with closing(sqlite3.connect(old.folder / "ids.sqlite")) as connection, connection:
        connection.execute("DELETE FROM ids WHERE position < 0")
        connection.execute("PRAGMA user_version = 1")
    with pytest.raises(StoreBroken):
        old.chain_of(oid_of(main_of(old)))
    assert commits_of(clone_of(world, tmp_path / "old", part)) == commits_of(right)
    for number in (1, 99):
        world.repo.bucket.create(f"projections/{number}/{part.id}/000000000002-1.json", b"{}")
    collect(world.reopened(gc_grace=-1000.0).repo)
    kept = {name.split("/")[1] for name in world.repo.bucket.list_keys("projections/")}
    assert kept == {str(checkpoints.FORMAT), "99"}


def test_what_is_odd_in_an_imported_history_breaks_no_store(settings: Settings, tmp_path: Path) -> None:
    source = odd(tmp_path / "source")
    world = imported(settings, source)
    part = define(world.repo, "part", ["a.txt", "sub/"])
    for number in range(2):
        land(world, {f"new{number}": b"1\n"})
        for of in (None, world.all, part):
            assert main_of(clone_of(world, tmp_path / "clones", of))
    assert git(clone_of(world, tmp_path / "clones", None).path, "rev-parse", "main~2") == source.git(
        "rev-parse", "HEAD"
    )
    mine = clone_of(world, tmp_path / "clones", part)
    for commit in source.git("rev-list", "HEAD", "--", "a.txt", "sub/").split():
        own = mine.projected(oid_of(commit))
        assert own is not None
        said = [
            [line for line in told.split(b"\n") if not line.startswith((b"tree ", b"parent "))]
            for told in (
                Git(environment=isolated_environment(path)).output("cat-file", "commit", oid)
                for path, oid in ((mine.path, own.hex()), (source.path / ".git", commit))
            )
        ]
        assert said[0] == said[1]
