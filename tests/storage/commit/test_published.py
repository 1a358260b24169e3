"""A batch whose entry brings its global commit, so that its changesets land with it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest

from app.admin.deep.verification import deep
from app.admin.verify import verify
from storage.base.ids import ChangesetId, oid_of
from storage.base.settings import Settings
from storage.commit import commit_batch, merge_batch
from storage.commit.batch import BatchResult
from storage.coordination import Node
from storage.log.entry import Commits, Entry, Merge, decode
from storage.operations import history
from storage.operations.slices import define
from storage.repository import Repository
from tests.support.compaction import aged_world, compacted
from tests.support.interruptions import before_next
from tests.support.redis_rows import flush
from tests.support.world import World, item


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(replace(settings, lock_ttl=60.0)))


def land(repo: Repository) -> BatchResult:
    """Commit a batch, as the task does; its result says whether a global commit is to follow."""
    with ExitStack() as appending:
        return commit_batch(repo, appending=appending)


def newest(world: World, behind: int = 0) -> Entry:
    return decode(world.repo.log.read(world.repo.view.head().applied - behind) or b"")


def unharmed(world: World) -> None:
    """The log, the view and Git agree, also where the view is made from the log again."""
    assert not verify(world.repo).differences
    flush(world)
    world.reopened().repo.prepare()
    assert not verify(world.repo).differences
    assert deep(world.repo.settings).difference == ""


def test_a_lone_batch_lands_with_its_entry(world: World) -> None:
    before = world.repo.view.head()
    first, second = world.submit(item(world.all, {"f": b"1"}, world.tip), item(world.all, {"g": b"1"}, world.tip))
    result = land(world.repo)
    assert result.merge is None and "committed 2, merged 2" in result.line
    head, entry = world.repo.view.head(), newest(world)
    assert isinstance(entry, Commits) and head.applied == before.applied + 1
    assert head.pending == 0 and head.through == head.applied and head.main_tree == head.root
    assert world.repo.objects.commit(oid_of(head.main)).parents == (oid_of(before.main), oid_of(head.tip))
    made = history.global_commit(world.repo, head.main)
    assert made and (made.seq, made.first, made.through, made.changesets) == (head.applied,) * 3 + (2,)
    _, states = world.repo.queue.states([first, second])
    assert [(state.outcome and state.outcome.seq, state.through) for state in states] == [(head.applied,) * 2] * 2
    unharmed(world)


def test_the_next_batch_follows_it(world: World) -> None:
    for name in "abc":
        world.put({name: b"1"})
        assert land(world.repo).merge is None
    made, _ = history.global_commits(world.repo, None, 10)
    assert [each.changesets for each in made] == [1, 1, 1, 0]
    assert [each.parents[:1] for each in made[:3]] == [(each.commit,) for each in made[1:]]
    unharmed(world)


def test_a_batch_that_commits_nothing_has_none(world: World) -> None:
    base = world.tip
    world.put({"f": b"1"})
    land(world.repo)
    main = world.repo.view.head().main
    world.put({"f": b"2"}, base)
    assert land(world.repo).line.startswith("conflicted 1")
    assert newest(world).global_commit is None and world.repo.view.head().main == main


def test_behind_what_is_pending_the_global_commit_follows(world: World) -> None:
    world.put({"f": b"1"})
    commit_batch(world.repo)
    world.put({"g": b"1"})
    result = land(world.repo)
    assert result.merge and newest(world).global_commit is None
    assert merge_batch(world.repo, result.merge).changesets == 2
    unharmed(world)


def test_one_that_is_made_for_another_parent_follows_too(world: World) -> None:
    """While the batch is being stored, another one is committed and lands; and then an entry of another kind comes."""
    other = World(Repository(replace(world.repo.settings, use_locks=False)), world.all)
    world.put({"f": b"1"})
    base = world.tip

    def in_between() -> None:
        world.repo.queue.begin_anew()
        other.submit(item(world.all, {"g": b"1"}, base))
        assert land(other.repo).merge is None

    before_next(world.repo.append_lock, "take", in_between)
    assert land(world.repo).changesets
    entries = [newest(world, behind) for behind in (1, 0)]
    assert all(entry.global_commit for entry in entries if entry.decided)
    world.put({"h": b"1"})
    before_next(world.repo.append_lock, "take", lambda: define(other.repo, "web", ["web/"]))
    assert land(world.repo).merge is None and newest(world).global_commit
    unharmed(world)


def test_more_than_a_global_commit_merges_is_left_to_the_merger(settings: Settings) -> None:
    world = World(Repository(replace(settings, merge_changesets=1)))
    world.submit(item(world.all, {"f": b"1"}, world.tip), item(world.all, {"g": b"1"}, world.tip))
    result = land(world.repo)
    assert result.merge is None and newest(world).global_commit is None and world.repo.view.head().pending == 2
    assert merge_batch(world.repo).changesets == 2, "whole entries, however many they have"
    unharmed(world)


def test_while_an_older_node_is_at_work_entries_are_as_it_reads_them(world: World) -> None:
    older = Node("commits@older", ("commits", "upkeep"), 7, reads=1)
    world.repo.nodes.say(older)
    world.put({"f": b"1"})
    result = land(world.repo)
    assert result.merge and newest(world).format == 1
    assert merge_batch(world.repo, result.merge).changesets == 1 and isinstance(newest(world), Merge)
    world.repo.nodes.say(older, at_work=False)
    world = world.reopened()
    world.put({"g": b"1"})
    assert land(world.repo).merge is None and newest(world).format == 2


def test_it_is_found_when_its_entry_has_left_redis(world: World) -> None:
    changesets: list[ChangesetId] = []
    for name in "abc":
        changesets.append(world.put({name: b"1"}))
        land(world.repo)
    before, _ = history.global_commits(world.repo, None, 10)
    old = aged_world(world)
    compacted(old)
    assert old.repo.view.head().archived >= before[0].seq
    fresh = old.reopened()
    assert history.global_commits(fresh.repo, None, 10)[0] == before
    for made, changeset in zip(before, reversed(changesets), strict=False):
        assert history.global_commit(fresh.repo, made.commit) == made
        assert fresh.status(changeset) == "committed"
    assert not verify(fresh.repo).differences
