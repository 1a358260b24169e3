"""A batch has its global commit stored with it: a change lands in four PUTs one after another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.admin.deep import deep
from app.admin.verify import verify
from storage.base.ids import oid_of
from storage.base.settings import Settings
from storage.commit import commit_batch, merge_batch
from storage.log.entry import Merge, decode
from storage.repository import Repository
from tests.support.compaction import aged, compacted
from tests.support.world import World


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(replace(settings, commit_changesets=2)))


def last_entry(world: World) -> Merge:
    entry = decode(world.repo.log.read(world.repo.view.head().applied) or b"")
    assert isinstance(entry, Merge)
    return entry


def test_the_global_commit_of_a_lone_batch_needs_no_pack_of_its_own(world: World) -> None:
    world.put({"f": b"1"})
    stored = commit_batch(world.repo).merge
    assert stored
    assert merge_batch(world.repo, stored).commit == stored.id.hex() == world.repo.view.head().main
    assert last_entry(world).packs == ()
    assert world.repo.objects.commit(stored.id).tree.hex() == world.repo.view.head().root
    world.repo.view.erase()
    world.repo.prepare()
    assert Repository(world.repo.settings).objects.commit(stored.id), "found by a view that was loaded anew"
    assert not verify(world.repo).differences


def test_one_that_is_not_all_that_is_pending_any_more_is_made_again(world: World) -> None:
    world.put({"f": b"1"})
    stored = commit_batch(world.repo).merge
    world.put({"g": b"1"})
    both = commit_batch(world.repo).merge
    assert both and [batch.count for batch in both.batches] == [1, 1], "what was pending is merged with it"
    made = merge_batch(world.repo, stored)
    assert stored and made.changesets == 2 and made.commit != stored.id.hex() and last_entry(world).packs
    assert not verify(world.repo).differences, "that an object is stored which nothing names is no fault"


def test_a_batch_that_others_wait_behind_is_merged_before_them(world: World) -> None:
    for name in "abc":
        world.put({name: b"1"})
    first = commit_batch(world.repo)
    assert first.merge and merge_batch(world.repo, first.merge).changesets == 2 and last_entry(world).packs == ()
    second = commit_batch(world.repo)
    assert second.merge and merge_batch(world.repo, second.merge).changesets == 1 and last_entry(world).packs == ()
    assert world.repo.view.head().pending == 0


def test_a_batch_larger_than_a_global_commit_is_left_to_the_merge_task(settings: Settings) -> None:
    world = World(Repository(replace(settings, merge_changesets=1)))
    for name in "ab":
        world.put({name: b"1"})
    assert commit_batch(world.repo).merge is None
    assert merge_batch(world.repo).changesets == 2, "an entry is merged whole"


def test_more_than_one_global_commit_takes_is_left_to_the_merge_task(settings: Settings) -> None:
    world = World(Repository(replace(settings, merge_changesets=2)))
    for name in "abc":
        world.put({name: b"1"})
        made = commit_batch(world.repo).merge
    assert made is None, "three were pending"
    assert [merge_batch(world.repo).changesets for _ in range(3)] == [2, 1, 0]


def test_a_change_lands_in_four_puts_one_after_another(world: World, puts: list[str]) -> None:
    world.put({"f": b"1"})
    merge_batch(world.repo, commit_batch(world.repo).merge)
    assert puts == ["inbox", "packs", "packs", "log", "log"], "a pack and its index are stored beside each other"


def test_a_compaction_keeps_the_global_commits_that_stand_in_other_packs(settings: Settings) -> None:
    world, made = World(Repository(aged(settings))), []
    for number in range(12):
        world.put({f"f{number}": b"1"})
        made.append(merge_batch(world.repo, commit_batch(world.repo).merge).commit)
    assert sum(done.entries for done in compacted(world)) > 20
    world.repo.objects.drop_copies()
    fresh = Repository(world.repo.settings)
    assert [fresh.objects.commit(oid_of(commit)).parents for commit in made], "read from the archive"
    assert not verify(fresh).differences and not deep(fresh.settings).difference
