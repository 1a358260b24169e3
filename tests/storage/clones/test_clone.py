"""A clone store has the history of a slice, or of the whole, byte for byte, wherever and whenever it is made."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from storage.base.errors import ViewStale
from storage.base.ids import ObjectId, oid_of
from storage.base.settings import Settings
from storage.clones.clone import StoreBroken
from storage.clones.clones import Clones
from storage.commit.batch import commit_batch
from storage.commit.global_merge import merge_batch
from storage.git import run_git
from storage.log.entry import log_position
from storage.operations.slices import change_paths, define
from storage.projection.follow import DefinitionChanged
from storage.repository import Repository
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
    objects_of,
    reopened,
)
from tests.support.compaction import aged_world, compacted, emptied
from tests.support.world import World

DOCS = ["docs/", "README"]


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(settings))


def test_a_slices_store_has_its_files_and_nothing_else(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", DOCS)
    land(world, {"docs/a": b"a\n", "docs/deep/b": b"b\n", "README": b"read\n", "secret/s": b"secret\n"})
    land(world, {"secret/s": b"secret 2\n"})
    land(world, {"docs/a": b"a 2\n", "secret/s": b"secret 3\n", "docs/run": "exec:#!/bin/sh\n", "docs/l": "link:a"})
    tip = land(world, {"docs/deep/b": None})
    clone = clone_of(world, tmp_path, docs)
    assert git(clone.path, "ls-tree", "-r", "--name-only", "main").split() == ["README", "docs/a", "docs/l", "docs/run"]
    assert git(clone.path, "rev-parse", "main^{tree}") == expected_tree(world, tip, docs.paths)
    assert len(commits_of(clone)) == 3
    fsck(clone)
    for content in (b"secret\n", b"secret 2\n", b"secret 3\n"):
        assert not has_object(clone, blob(content))
    for commit in (tip, world.repo.view.head().main, world.repo.view.head().root):
        assert not has_object(clone, commit)
    assert has_object(clone, blob(b"b\n"))


def test_each_commit_of_a_slice_has_the_tree_that_the_api_shows_at_its_commit_of_the_chain(
    world: World, tmp_path: Path
) -> None:
    docs = define(world.repo, "docs", DOCS)
    chain = [
        land(world, {"docs/a": b"1\n"}),
        land(world, {"x": b"x\n"}),
        land(world, {"docs/a": b"2\n", "y": b"y\n"}),
        land(world, {"README": b"r\n"}),
        land(world, {"docs/a": None, "README": None}),
        land(world, {"docs/z/a": b"back\n"}),
    ]
    clone = clone_of(world, tmp_path, docs)
    assert len(commits_of(clone)) == 5
    for commit in chain:
        own = clone.projected(oid_of(commit))
        assert own is not None
        assert git(clone.path, "rev-parse", own.hex() + "^{tree}") == expected_tree(world, commit, docs.paths)
    assert [clone.chain_of(oid_of(own)).hex() for own in reversed(commits_of(clone))] == [chain[0], *chain[2:]]
    # What changed nothing in the slice stands for the commit before it.
    assert clone.projected(oid_of(chain[1])) == clone.projected(oid_of(chain[0]))
    head = world.repo.view.head()
    for other in (head.main, head.root, "ab" * 20, blob(b"1\n")):
        assert clone.projected(oid_of(other)) is None
        assert clone.chain_of(oid_of(other)) is None


def test_a_commit_says_what_the_chains_says_without_anything_of_the_chain(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", DOCS)
    chain = land(world, {"docs/a": b"a\n"}, message="Väter\n\nBody.\n\nSigned-off-by: Ada <ada@example.org>\n")
    clone = clone_of(world, tmp_path, docs)
    said = git(clone.path, "cat-file", "commit", "main")
    assert said.partition("\n\n")[2] == "Väter\n\nBody.\n\nSigned-off-by: Ada <ada@example.org>"
    assert "Changeset-" not in said and "parent" not in said and chain not in said
    assert "author Ada <ada@example.org> 1700000000 +0100\n" in said


def test_the_whole_has_the_chains_own_commits(world: World, tmp_path: Path) -> None:
    chain = [land(world, {"docs/a": b"a\n"}), land(world, {"secret/s": b"s\n"}), land(world, {"secret/s": b"s\n"})]
    clone = clone_of(world, tmp_path, None)
    assert commits_of(clone)[:3] == chain[::-1] and len(commits_of(clone)) == 4
    fsck(clone)
    for commit in commits_of(clone):
        assert clone.chain_of(oid_of(commit)) == oid_of(commit) == clone.projected(oid_of(commit))
    assert clone.chain_of(oid_of(world.repo.view.head().main)) is None


def test_nothing_of_a_changeset_that_did_not_land_is_in_any_store(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", DOCS)
    land(world, {"docs/a": b"a\n"})
    base = world.tip
    land(world, {"docs/a": b"ours\n"})
    loser = world.put({"docs/a": b"theirs\n"}, base)
    world.work()
    assert world.status(loser) == "conflicted"
    # A compaction copies whole submission packs, with manifests and contents that were refused.
    aged = aged_world(world)
    assert sum(done.retired for done in compacted(aged)) > 0
    for clone in (clone_of(world, tmp_path / "a", docs), clone_of(world, tmp_path / "b", None)):
        assert has_object(clone, blob(b"ours\n"))
        assert not has_object(clone, blob(b"theirs\n"))
        fsck(clone)


def test_what_is_committed_is_shown_when_it_has_landed(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", DOCS)
    landed = land(world, {"docs/a": b"a\n"})
    waiting = world.put({"docs/a": b"b\n"})
    assert commit_batch(world.repo).changesets == 1
    outcome = world.repo.outcome(waiting)
    assert outcome is not None and not outcome.main
    clone, whole = clone_of(world, tmp_path, docs), clone_of(world, tmp_path, None)
    assert (len(commits_of(clone)), main_of(whole)) == (1, landed)
    assert not has_object(clone, blob(b"b\n")) and not has_object(whole, blob(b"b\n"))
    assert clone.projected(oid_of(outcome.commit)) is None
    # A definition that is made meanwhile waits its turn, and others' stores say the same at any time.
    change_paths(world.repo, docs.id, [*DOCS, "more/"])
    land(world, {"more/m": b"m\n"})
    assert merge_batch(world.repo).changesets == 0
    grown = world.repo.view.slice("docs")
    assert main_of(clone_of(world, tmp_path, grown)) == main_of(clone_of(world, tmp_path / "cold", grown))
    assert has_object(clone_of(world, tmp_path, None), blob(b"b\n"))


def test_a_slice_without_files_has_no_branch_yet(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", DOCS)
    commit = land(world, {"x": b"x\n"})
    clone = clone_of(world, tmp_path, docs)
    assert main_of(clone) == "" and objects_of(clone) == set()
    assert clone.projected(oid_of(commit)) is None
    land(world, {"docs/a": b"a\n"})
    land(world, {"docs/a": None})
    clone = clone_of(world, tmp_path, docs)
    assert git(clone.path, "ls-tree", "main") == "" and len(commits_of(clone)) == 2
    fsck(clone)


def test_stores_have_the_same_ids_whenever_they_are_made(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", DOCS)
    for step in range(6):
        land(world, {"docs/a": b"%d\n" % step, f"docs/{step}": b"new\n", "other": b"%d\n" % step})
        clone_of(world, tmp_path / "often", docs)
    often, at_once = clone_of(world, tmp_path / "often", docs), clone_of(world, tmp_path / "once", docs)
    assert commits_of(often) == commits_of(at_once) and len(commits_of(often)) == 6
    assert objects_of(often) == objects_of(at_once)


def test_a_store_survives_compactions_and_the_loss_of_redis(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", DOCS)
    for step in range(3):
        land(world, {"docs/a": b"%d\n" % step, "other": b"%d\n" % step})
    before = commits_of(clone_of(world, tmp_path / "kept", docs))
    aged = aged_world(world, gc_grace=-1000.0)
    assert sum(done.retired for done in compacted(aged)) > 0
    assert sum(done.deleted for done in compacted(aged)) >= 0
    fresh = emptied(world)
    land(fresh, {"docs/a": b"later\n"})
    kept, cold = clone_of(fresh, tmp_path / "kept", docs), clone_of(fresh, tmp_path / "cold", docs)
    assert commits_of(kept)[1:] == before and commits_of(kept) == commits_of(cold)
    whole = clone_of(fresh, tmp_path / "cold", None)
    assert main_of(whole) == fresh.repo.view.head().tip
    for clone in (kept, cold, whole):
        fsck(clone)


def test_a_store_that_is_deleted_is_made_again(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", DOCS)
    land(world, {"docs/a": b"a\n"})
    clone = clone_of(world, tmp_path / "c", docs)
    before = main_of(clone)
    shutil.rmtree(tmp_path / "c")
    assert clone.catch_up(world.repo.view.head().applied) == world.repo.view.head().applied
    assert main_of(clone) == before
    shutil.rmtree(clone.path)
    land(world, {"docs/a": b"b\n"})
    clone.catch_up(world.repo.view.head().applied)
    assert len(commits_of(clone)) == 2
    fsck(clone)
    clone.discard()
    with pytest.raises(StoreBroken):
        clone.chain_of(oid_of(before))
    with clone.ready(world.repo.view.head().applied) as path:
        assert git(path, "rev-parse", "main~1") == before


@pytest.mark.parametrize("damage", ["no pack", "no table", "no rows", "other branch", "another format"])
def test_a_damaged_store_is_put_right_or_made_again(world: World, tmp_path: Path, damage: str) -> None:
    docs = define(world.repo, "docs", DOCS)
    for step in range(2):
        land(world, {"docs/a": b"%d\n" % step, "docs/same": b"same\n"})
        clone = clone_of(world, tmp_path, docs)
    right = commits_of(clone)
    match damage:
        case "no pack":
            for pack in (clone.path / "objects" / "pack").iterdir():
                pack.unlink()
        case "no table":
            (clone.folder / "ids.sqlite").unlink()
        case "no rows":
            (clone.folder / "ids.sqlite").write_bytes(b"no database")
        case "other branch":
            (clone.path / "refs" / "heads" / "main").write_text(right[-1] + "\n")
        case "another format":
            with clone._table._opened() as connection:
                connection.execute("PRAGMA user_version = 99")
    land(world, {"docs/a": b"more\n"})
    clone = clone_of(world, tmp_path, docs)
    assert commits_of(clone)[1:] == right
    fsck(clone)


def test_a_store_that_followed_another_log_is_made_again(world: World, tmp_path: Path, settings: Settings) -> None:
    land(world, {"docs/a": b"a\n"})
    clone = clone_of(world, tmp_path, None)
    other = World(Repository(replace(settings, repository=settings.repository + "o")))
    assert main_of(clone_of(other, tmp_path, None)) == other.repo.view.head().tip  # shorter than what was followed
    for step in range(4):
        land(other, {"docs/b": b"%d\n" % step})
    again = clone_of(other, tmp_path, None)
    assert again.folder == clone.folder
    assert main_of(again) == other.repo.view.head().tip
    assert not has_object(again, blob(b"a\n"))


def test_a_catch_up_reaches_what_the_view_had_and_never_less(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", DOCS)
    land(world, {"docs/a": b"a\n"})
    clone = clone_of(world, tmp_path, docs)
    with pytest.raises(ViewStale):
        clone.catch_up(world.repo.view.head().applied + 1)


def test_many_who_ask_at_once_share_one_store(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", DOCS)
    for step in range(3):
        land(world, {"docs/a": b"%d\n" % step})
    seq = world.repo.view.head().applied
    everybody = [Clones(reopened(world), tmp_path) for _ in range(3)]
    found: list[str] = []
    failed: list[BaseException] = []

    def ask(clones: Clones) -> None:
        try:
            with clones.of_slice(docs).ready(seq) as path:
                found.append(git(path, "rev-parse", "main"))
        except BaseException as error:  # noqa: BLE001 - the test shows it
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(everybody[i % 3],)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(found) == 12 and len(set(found)) == 1
    fsck(clone_of(world, tmp_path, docs))


def test_a_definition_that_was_changed_has_to_be_looked_at_again(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", DOCS)
    land(world, {"docs/a": b"a\n", "more/m": b"m\n"})
    clone = clone_of(world, tmp_path, docs)
    changed = change_paths(world.repo, docs.id, ["more/"])
    with pytest.raises(DefinitionChanged):
        clone.catch_up(world.repo.view.head().applied)
    land(world, {"docs/a": b"b\n"})
    with pytest.raises(DefinitionChanged):
        clone.catch_up(world.repo.view.head().applied)
    assert not has_object(clone, blob(b"m\n"))
    assert not has_object(clone_of(world, tmp_path, changed), blob(b"a\n"))


def test_positions_are_those_of_the_log(world: World, tmp_path: Path) -> None:
    land(world, {"docs/a": b"a\n"})
    changeset = world.put({"docs/a": b"b\n"})
    world.work()
    outcome = world.repo.outcome(changeset)
    assert outcome is not None
    clone = clone_of(world, tmp_path, None)
    assert clone._table.at(log_position(outcome.seq, outcome.index)).own == ObjectId(world.tip)


@pytest.mark.parametrize("what", ["#!/nowhere/sh\n", "#!/bin/sh\nkill -9 $$\n"])
def test_a_store_is_not_removed_since_git_cannot_be_run(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    land(world, {"a": b"1\n"})
    clone = clone_of(world, tmp_path / "stores", None)
    before = clone.path.stat().st_ino
    land(world, {"a": b"2\n"})
    program = tmp_path / "git"
    program.write_text(what)
    program.chmod(0o755)
    with monkeypatch.context() as short:
        short.setattr(run_git, "program", lambda: str(program))
        with pytest.raises(StoreBroken, match="waits for Git"):
            clone.catch_up(world.repo.view.head().applied)
    clone.catch_up(world.repo.view.head().applied)
    assert clone.path.stat().st_ino == before and len(commits_of(clone)) == 3
