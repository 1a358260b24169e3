"""The store of the whole has the repository's tags, with what they name; those of slices have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from storage.base.ids import oid_of
from storage.base.settings import Settings
from storage.clones.clone import Clone
from storage.clones.git_store import GitStore
from storage.git.run_git import GitFailed
from storage.operations.slices import define
from storage.operations.tags import Wanted, delete_tag, put_tag
from storage.repository import Repository
from tests.support.clones import clone_of, fsck, git, has_object, land, main_of
from tests.support.world import AUTHOR, World


@pytest.fixture
def world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(Clone, "_keep_beside", lambda self: None)
    return World(Repository(replace(settings, clone_checkpoint_commits=2)))


def tag(world: World, name: str, commit: str, message: str | None = None, force: bool = False) -> str:
    wanted = Wanted(name=name, commit=oid_of(commit), message=message, tagger=AUTHOR, force=force)
    return put_tag(world.repo, wanted, None)[1].oid.hex()


def tags_of(clone: Clone) -> dict[str, str]:
    rows = git(clone.path, "for-each-ref", "--format=%(refname) %(objectname)", "refs/tags").splitlines()
    return {name.removeprefix("refs/tags/"): oid for name, oid in (row.split() for row in rows)}


def test_tags_of_the_chain_and_of_global_commits_are_there_and_go_again(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", ["docs/"])
    first = land(world, {"docs/a": b"1\n"})
    light, whole = tag(world, "light", first), clone_of(world, tmp_path, None)
    assert tags_of(whole) == {"light": light} and light == first
    annotated = tag(world, "v1/annotated", first, "One\n")
    over_all = tag(world, "released", world.repo.view.head().main, "All of it\n")
    second = land(world, {"docs/a": b"2\n"})
    whole = clone_of(world, tmp_path, None)
    expected = {"light": first, "v1/annotated": annotated, "released": over_all}
    assert tags_of(whole) == expected == tags_of(clone_of(world, tmp_path / "cold", None))
    assert git(whole.path, "rev-parse", "v1/annotated^{commit}") == first
    assert git(whole.path, "rev-list", "-1", "released^2") == first
    fsck(whole)
    # From a checkpoint, also those that no commit of the chain reaches.
    whole.keep()
    restored = clone_of(world, tmp_path / "restored", None)
    assert tags_of(restored) == expected and main_of(restored) == second
    fsck(restored)
    tag(world, "light", second, force=True)
    delete_tag(world.repo, "v1/annotated", None, None)
    for clone in (whole, restored):
        clone.catch_up(world.repo.view.head().applied)
        assert tags_of(clone) == {"light": second, "released": over_all}
    slice_store = clone_of(world, tmp_path, docs)
    assert tags_of(slice_store) == {} and not has_object(slice_store, annotated)


def test_tags_that_a_death_kept_from_being_set_are_set_by_the_next_catch_up(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = land(world, {"docs/a": b"1\n"})
    whole = clone_of(world, tmp_path, None)
    tag(world, "v1", first)

    class Died(BaseException):
        pass

    def dies(store: GitStore, wanted: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(GitStore, "set_tags", dies)
        with pytest.raises(Died):
            whole.catch_up(world.repo.view.head().applied)
    assert tags_of(whole) == {}
    whole.catch_up(world.repo.view.head().applied)
    assert tags_of(whole) == {"v1": first}


def test_a_tag_whose_object_cannot_be_had_keeps_no_other_from_being_shown(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = land(world, {"docs/a": b"1\n"})
    tag(world, "v1", first)
    tag(world, "odd", world.repo.view.head().root)  # a tree, which the store has
    whole = clone_of(world, tmp_path, None)
    assert set(tags_of(whole)) == {"v1", "odd"}
    missing = oid_of("ab" * 20)
    with pytest.raises(GitFailed):
        GitStore(whole.path).set_tags({"gone": missing})
    assert GitStore(whole.path).missing([missing, oid_of(first)]) == {missing}
