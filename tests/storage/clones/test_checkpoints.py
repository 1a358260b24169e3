"""A checkpoint in the bucket spares following the log, and decides nothing: without it, everything is the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.admin.backup import backup
from app.admin.verify import verify
from storage.backends.bucket import Bucket
from storage.base.settings import Settings
from storage.clones import checkpoints
from storage.clones.clone import Clone
from storage.clones.clones import Clones
from storage.clones.id_table import Row
from storage.log.log import Log
from storage.maintenance import collect
from storage.operations.slices import change_paths, define, delete
from storage.repository import Repository
from storage.view.snapshot import Slice
from tests.support.clones import clone_of, commits_of, fsck, land, main_of, objects_of, reopened
from tests.support.world import World


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(replace(settings, clone_checkpoint_commits=3)))


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores do their upkeep when a test says so."""
    monkeypatch.setattr(Clone, "_keep_beside", lambda self: None)


def fill(world: World, count: int, first: int = 0) -> None:
    for step in range(first, first + count):
        land(world, {"docs/a": b"%d\n" % step, f"docs/{step}": b"%d\n" % step, "x": b"%d\n" % step})


def rows_of(clone: Clone) -> list[Row]:
    return clone._table.rows(-1, clone._table.state().end, 1000)


def checkpointed(world: World, of: Slice | None) -> list[checkpoints.Stored]:
    return checkpoints.listed(world.repo.bucket, checkpoints.folder_of(of.id if of else None))


@pytest.mark.parametrize("whole", [False, True], ids=["a slice", "the whole"])
def test_a_store_on_an_empty_disk_begins_with_the_checkpoint_and_has_the_same_ids(
    world: World, tmp_path: Path, by_hand: None, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    docs = define(world.repo, "docs", ["docs/"])
    fill(world, 4)
    of = None if whole else docs
    first = clone_of(world, tmp_path / "first", of)
    assert checkpointed(world, of) == []
    first.keep()
    assert len(checkpointed(world, of)) == 1
    fill(world, 1, first=4)
    read: list[int] = []
    read_from = Log.read_from

    def noted(log: Log, seq: int, *args: object, **more: object) -> object:
        read.append(seq)
        return read_from(log, seq, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Log, "read_from", noted)
    restored = clone_of(world, tmp_path / "restored", of)
    assert read == [checkpointed(world, of)[0].seq + 1]
    monkeypatch.setattr(checkpoints, "restore", lambda *args: None)
    cold = clone_of(world, tmp_path / "cold", of)
    assert commits_of(restored) == commits_of(cold) == commits_of(clone_of(world, tmp_path / "first", of))
    assert objects_of(restored) == objects_of(cold)
    assert rows_of(restored) == rows_of(cold) != []
    fsck(restored)


def test_a_store_writes_its_checkpoint_by_itself_when_it_has_enough_commits(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", ["docs/"])
    fill(world, 3)
    clone = clone_of(world, tmp_path, docs)
    clone.wait()
    [stored] = checkpointed(world, docs)
    fill(world, 1, first=3)
    clone_of(world, tmp_path, docs).wait()
    assert checkpointed(world, docs) == [stored]  # not yet worth another


def test_of_two_stores_one_writes_a_checkpoint(world: World, tmp_path: Path, by_hand: None) -> None:
    docs = define(world.repo, "docs", ["docs/"])
    fill(world, 3)
    stores = [clone_of(world, tmp_path / name, docs) for name in "ab"]
    for store in stores:
        store.keep()
    assert len(checkpointed(world, docs)) == 1
    assert len(list(world.repo.bucket.list_keys(checkpoints.folder_of(docs.id)))) == 3


def test_an_old_checkpoint_goes_after_the_grace_and_not_before(world: World, tmp_path: Path, by_hand: None) -> None:
    docs = define(world.repo, "docs", ["docs/"])
    for first in (0, 3):
        fill(world, 3, first)
        clone_of(world, tmp_path, docs).keep()
    assert len(checkpointed(world, docs)) == 2
    fill(world, 3, first=6)
    late = world.reopened(gc_grace=-1000.0)
    clone_of(late, tmp_path, docs, late.repo).keep()
    assert len(checkpointed(world, docs)) == 1
    assert len(list(world.repo.bucket.list_keys(checkpoints.folder_of(docs.id)))) == 3
    assert commits_of(clone_of(world, tmp_path / "new", docs)) == commits_of(clone_of(world, tmp_path, docs))


@pytest.mark.parametrize("damage", ["manifest", "part", "gone", "of another log", "other rows"])
def test_a_checkpoint_that_is_wrong_is_passed_by(
    world: World, tmp_path: Path, by_hand: None, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    docs = define(world.repo, "docs", ["docs/"])
    fill(world, 3)
    right = clone_of(world, tmp_path / "a", docs)
    right.keep()
    [stored] = checkpointed(world, docs)
    bucket = world.repo.bucket
    data = bucket.get(stored.name)
    pack = next(name for name in bucket.list_keys(checkpoints.folder_of(docs.id)) if ".pack-" in name)

    def put(name: str, wrong: bytes) -> None:
        bucket.delete(name)
        bucket.create(name, wrong)

    match damage:
        case "manifest":
            put(stored.name, data[:-10])
        case "part":
            put(pack, bucket.get(pack)[:-1] + b"x")
        case "gone":
            bucket.delete(pack)
        case "of another log":
            put(stored.name, data.replace(right._table.state().hash.encode(), b"ab" * 32))
        case "other rows":
            put(stored.name, data.replace(b'"count":3', b'"count":2'))
    assert bucket.get(stored.name) != data or damage in {"part", "gone"}
    assert commits_of(clone_of(world, tmp_path / "b", docs)) == commits_of(right)


def test_a_checkpoint_of_a_wider_definition_is_not_for_a_narrower_one(
    world: World, tmp_path: Path, by_hand: None
) -> None:
    docs = define(world.repo, "docs", ["docs/"])
    fill(world, 3)
    clone_of(world, tmp_path / "a", docs).keep()
    grown = change_paths(world.repo, docs.id, ["docs/", "x"])
    fill(world, 4, first=3)
    wide = clone_of(world, tmp_path / "a", grown)
    wide.keep()
    assert [stored.version for stored in checkpointed(world, docs)] == [1, 2]
    # From the checkpoint of the first definition, or of the second one.
    assert commits_of(clone_of(world, tmp_path / "b", grown)) == commits_of(wide)
    world.repo.bucket.delete(checkpointed(world, docs)[1].name)
    assert commits_of(clone_of(world, tmp_path / "c", grown)) == commits_of(wide)
    shrunk = change_paths(world.repo, docs.id, ["docs/"])
    narrow = clone_of(world, tmp_path / "d", shrunk)
    assert len(commits_of(narrow)) == 7 and not objects_of(narrow) & (objects_of(wide) - objects_of(narrow))
    narrow.keep()
    assert main_of(clone_of(world, tmp_path / "e", shrunk)) == main_of(narrow)


def test_checkpoints_are_no_ones_business_but_the_stores(
    world: World, tmp_path: Path, by_hand: None, settings: Settings
) -> None:
    docs = define(world.repo, "docs", ["docs/"])
    fill(world, 3)
    clone_of(world, tmp_path / "a", docs).keep()
    late = world.reopened(gc_grace=-1000.0)
    collect(late.repo)
    assert len(checkpointed(world, docs)) == 1
    assert verify(world.repo).differences == []
    backup(settings, tmp_path / "backup")
    assert not (tmp_path / "backup" / "projections").exists()
    # Those of a slice that is deleted are garbage.
    delete(world.repo, docs.id)
    collect(world.repo)
    assert len(checkpointed(world, docs)) == 1
    collect(late.repo)
    assert list(Bucket(settings).list_keys(checkpoints.FOLDER)) == []


def test_stores_are_the_same_with_checkpoints_off(world: World, tmp_path: Path) -> None:
    docs = define(world.repo, "docs", ["docs/"])
    fill(world, 3)
    without = Clones(reopened(world.reopened(clone_checkpoint_commits=0)), tmp_path).of_slice(docs)
    without.catch_up()
    without.keep()
    assert checkpointed(world, docs) == []
