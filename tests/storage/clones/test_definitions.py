"""A slice's store gives out what its definition has now, and nothing that it had before."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.base.ids import oid_of
from storage.base.settings import Settings
from storage.clones.catch_up import CatchUp
from storage.clones.clones import Clones
from storage.operations.slices import change_paths, define, delete
from storage.repository import Repository
from storage.view.snapshot import Slice
from tests.support.clones import (
    blob,
    clone_of,
    commits_of,
    expected_tree,
    fsck,
    git,
    has_object,
    land,
    main_of,
    reopened,
)
from tests.support.world import World


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(settings))


def tree_ids(clone) -> set[str]:
    """The ids of all trees that were ever at the top."""
    return set(git(clone.path, "log", "--format=%T", "main").split())


def test_a_slice_that_grows_goes_on_with_one_more_commit(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", ["docs/"])
    land(world, {"docs/a": b"a\n", "more/m": b"m\n", "x": b"x\n"})
    old = clone_of(world, tmp_path / "kept", docs)
    before = commits_of(old)
    grown = change_paths(world.repo, docs.id, ["docs/", "more/"])
    kept = clone_of(world, tmp_path / "kept", grown)
    assert commits_of(kept)[1:] == before
    said = git(kept.path, "cat-file", "commit", "main")
    assert said.endswith("Change the paths of this slice")
    assert "author Sluice <sluice@localhost>" in said and "+0000" in said
    tip = land(world, {"more/m": b"m 2\n", "docs/a": b"a 2\n"})
    kept, cold = clone_of(world, tmp_path / "kept", grown), clone_of(world, tmp_path / "cold", grown)
    assert commits_of(kept) == commits_of(cold) and len(commits_of(cold)) == 3
    assert git(cold.path, "rev-parse", "main^{tree}") == expected_tree(world, tip, grown.paths)
    # Two commits stand for the chain's commit before the change: the second one has the paths that came.
    first, second = commits_of(cold)[2], commits_of(cold)[1]
    chain = cold.chain_of(oid_of(first))
    assert chain == cold.chain_of(oid_of(second)) and cold.projected(chain) == oid_of(first)
    # Who may read the old definition alone is given nothing of the new paths.
    assert not has_object(old, blob(b"m\n")) and old.folder != kept.folder
    for clone in (kept, cold):
        fsck(clone)


def test_a_change_with_other_paths_too_tells_a_slice_neither_who_made_it_nor_why(world: World, tmp_path: Path) -> None:
    shared = define(world.repo, "shared", ["shared/"])
    land(world, {"shared/a": b"a\n", "secret/plan": b"p\n"}, message="Rotate the password in secret/plan")
    land(world, {"shared/b": b"b\n"}, message="Of this slice alone")
    clone = clone_of(world, tmp_path, shared)
    newest, part = git(clone.path, "log", "--format=%an|%cn|%s", "main").splitlines()
    assert newest.endswith("|Of this slice alone") and not newest.startswith("Sluice|")
    assert part == "Sluice|Sluice|The part of a change that has other paths too"
    fsck(clone)


def test_a_definition_with_other_words_for_the_same_files_makes_no_commit(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", ["docs/"])
    land(world, {"docs/a": b"a\n"})
    before = main_of(clone_of(world, tmp_path, docs))
    wider = change_paths(world.repo, docs.id, ["docs/", "nothing/", "docs/a"])
    assert main_of(clone_of(world, tmp_path, wider)) == before == main_of(clone_of(world, tmp_path / "cold", wider))


@pytest.mark.parametrize("how", ["from its own store", "cold", "from a checkpoint"])
def test_a_slice_that_shrinks_gives_its_old_paths_to_nobody(
    world: World, tmp_path: Path, settings: Settings, how: str
) -> None:
    world = world.reopened(clone_checkpoint_commits=1)
    docs = define(world.repo, "docs", ["docs/", "secret/"])
    land(world, {"docs/a": b"a\n", "secret/s": b"secret 1\n", "secret/deep/s": b"secret 2\n"})
    land(world, {"docs/a": b"a 2\n", "secret/s": b"secret 3\n"})
    kept = tmp_path / ("kept" if how == "from its own store" else "other")
    old = clone_of(world, kept, docs)
    if how == "from a checkpoint":
        old.keep()
    leaked = {*commits_of(old), *tree_ids(old)} | {blob(b"secret %d\n" % i) for i in (1, 2, 3)}
    root = world.repo.objects.commit_tree(oid_of(world.repo.view.head().tip))
    leaked |= {version.oid.hex() for name, version in world.repo.objects.tree(root).items() if name == b"secret"}
    less = change_paths(world.repo, docs.id, ["docs/"])
    land(world, {"docs/b": b"b\n", "secret/s": b"secret 4\n"})
    leaked.add(blob(b"secret 4\n"))
    new = clone_of(world, kept if how == "from its own store" else tmp_path / "new", less)
    assert {oid for oid in leaked if has_object(new, oid)} == set()
    # The whole history of what is left, and no parent in the old one.
    part = "The part of a change that has other paths too"
    log = git(new.path, "log", "--format=%s", "--name-only", "main").splitlines()
    assert [line for line in log if line] == [part, "docs/b", part, "docs/a", part, "docs/a"]
    assert commits_of(new) == commits_of(clone_of(world, tmp_path / "third", less))
    fsck(new)


def test_a_slice_that_shrinks_and_grows_again_begins_with_what_it_had_shrunk_to(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", ["a/", "b/"])
    land(world, {"a/1": b"1\n", "b/1": b"1\n", "c/1": b"1\n"})
    definitions: list[Slice] = [docs]
    for paths in (["a/"], ["a/", "c/"], ["a/", "b/", "c/"]):
        clone_of(world, tmp_path / "kept", definitions[-1])
        definitions.append(change_paths(world.repo, docs.id, paths))
        land(world, {"a/1": b"then %d\n" % len(paths), "b/1": b"b then %d\n" % len(paths)})
    kept, cold = (
        clone_of(world, tmp_path / "kept", definitions[-1]),
        clone_of(world, tmp_path / "cold", definitions[-1]),
    )
    assert commits_of(kept) == commits_of(cold)
    # a alone, its first change, c, its second change, b, the third with b.
    assert [len(git(cold.path, "ls-tree", "-r", "--name-only", c).split()) for c in commits_of(cold)] == [
        3, 3, 2, 2, 1, 1,
    ]  # fmt: skip
    assert not has_object(cold, blob(b"b then 1\n")) and has_object(cold, blob(b"b then 3\n"))
    for clone in (kept, cold):
        fsck(clone)


def test_files_with_one_beginning_and_a_directory_in_the_place_of_a_file(world: World, tmp_path: Path) -> None:
    odd = define(world.repo, "odd", ["a/x/", "a.b", "a/y"])
    chain = [
        land(world, {"a/x/1": b"1\n", "a.b": b"2\n", "a/y": b"3\n", "a/z": b"4\n"}),
        land(world, {"a/y": None, "a/x/1": None}),
        land(world, {"a/x": b"a file where a directory was\n", "a/y/1": b"a directory where a file was\n"}),
        land(world, {"a.b": None}),
        land(world, {"a/x": None, "a/y/1": None}),
        land(world, {"a/x/1/2": b"1\n", "a/y": b"3\n"}),
    ]
    clone = clone_of(world, tmp_path, odd)
    for commit in chain:
        own = clone.projected(oid_of(commit))
        assert git(clone.path, "rev-parse", f"{own.hex()}^{{tree}}") == expected_tree(world, commit, odd.paths)
    assert len(commits_of(clone)) == 4
    fsck(clone)


def test_the_slice_of_everything_has_no_objects_of_the_chain_but_trees_and_contents(
    world: World, tmp_path: Path
) -> None:
    land(world, {"a/x": b"1\n"})
    tip = land(world, {"b": b"1\n"})
    clone = clone_of(world, tmp_path, world.all)
    assert git(clone.path, "rev-parse", "main^{tree}") == expected_tree(world, tip, frozenset([b"/"]))
    assert len(commits_of(clone)) == 2 and not has_object(clone, tip)
    fsck(clone)


def test_a_slice_that_was_deleted_and_one_of_its_name_have_stores_of_their_own(world: World, tmp_path: Path) -> None:
    first = define(world.repo, "docs", ["secret/"])
    land(world, {"docs/a": b"a\n", "secret/s": b"s\n"})
    old = clone_of(world, tmp_path, first)
    delete(world.repo, first.id)
    second = define(world.repo, "docs", ["docs/"])
    clones = Clones(reopened(world), tmp_path)
    with clones.of_slice(second).ready(world.repo.view.head().applied) as path:
        assert path != old.path
        assert git(path, "ls-tree", "-r", "--name-only", "main") == "docs/a"
        assert not has_object(clones.of_slice(second), blob(b"s\n"))


def test_a_store_that_was_begun_from_a_wider_ones_is_shown_to_nobody_before_it_is_right(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks with an older position of the view must not be given what the older definition had."""
    docs = define(world.repo, "docs", ["docs/", "secret/"])
    land(world, {"docs/a": b"a\n", "secret/s": b"secret\n"})
    seq = world.repo.view.head().applied
    clone_of(world, tmp_path, docs)
    less = change_paths(world.repo, docs.id, ["docs/"])
    clones = Clones(reopened(world), tmp_path)
    asked: list[int] = []
    run = CatchUp.run

    def interrupted(catch_up: CatchUp) -> int:
        asked.append(clones.of_slice(less)._table.reached())
        return run(catch_up)

    monkeypatch.setattr(CatchUp, "run", interrupted)
    with clones.of_slice(less).ready(seq) as path:
        assert git(path, "ls-tree", "-r", "--name-only", "main") == "docs/a"
    # Twice: the second time without the older one's.
    assert asked == [0, 0]
    assert not has_object(clones.of_slice(less), blob(b"secret\n"))


@pytest.mark.parametrize("damage", ["no table", "no database", "no packs"])
def test_a_damaged_store_of_the_older_definition_is_nothing_to_begin_with(
    world: World, tmp_path: Path, damage: str
) -> None:
    docs = define(world.repo, "docs", ["docs/"])
    land(world, {"docs/a": b"a\n", "more/m": b"m\n"})
    old = clone_of(world, tmp_path, docs)
    old.wait()
    match damage:
        case "no table":
            (old.folder / "ids.sqlite").unlink()
        case "no database":
            (old.folder / "ids.sqlite").write_bytes(b"damaged")
        case "no packs":
            for pack in (old.path / "objects" / "pack").iterdir():
                pack.unlink()
    grown = change_paths(world.repo, docs.id, ["docs/", "more/"])
    land(world, {"docs/b": b"b\n"})
    clone = clone_of(world, tmp_path, grown)
    assert commits_of(clone) == commits_of(clone_of(world, tmp_path / "cold", grown))
    fsck(clone)
