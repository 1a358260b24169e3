"""What a commit batch promises, on real servers."""

from __future__ import annotations

import pytest

from storage.base.settings import Settings
from storage.repository import Repository
from tests.support.world import World, item


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(settings))


def test_a_changeset_is_committed_and_then_landed(world: World) -> None:
    changeset = world.put({"a/b.txt": b"one", "c": b"two"})
    assert world.status(changeset) == "queued"
    world.work()
    assert world.status(changeset) == "committed"
    head = world.repo.view.head()
    assert head.main_tree == head.root and head.pending == 0
    assert world.files() == {"a/b.txt": b"one", "c": b"two"}


def test_a_path_that_moved_since_the_base_conflicts_with_three_versions(world: World) -> None:
    base = world.tip
    world.put({"f": b"one"}, base)
    late = world.put({"f": b"two", "g": b"x"}, base)
    world.work()
    outcome = world.repo.outcome(late)
    assert outcome and outcome.status == "conflicted"
    [conflict] = outcome.conflicts
    assert conflict.path == "f" and conflict.kind == "add/add" and conflict.base is None
    assert conflict.head and conflict.submitted and conflict.head.id != conflict.submitted.id
    assert world.files() == {"f": b"one"}, "all or nothing"


def test_a_stack_is_submitted_without_waiting(world: World) -> None:
    first, second, third = world.submit(
        item(world.all, {"f": b"1"}, world.tip),
        item(world.all, {"f": b"2", "g": b"1"}, 0),
        item(world.all, {"f": None, "g": b"2"}, 1),
    )
    world.work()
    assert [world.status(each) for each in (first, second, third)] == ["committed"] * 3
    assert world.files() == {"g": b"2"}
    fourth = world.put({"g": b"3"}, third)
    world.work()
    assert world.status(fourth) == "committed"


def test_a_stack_never_takes_what_others_landed_for_seen(world: World) -> None:
    start = world.tip
    mine = world.put({"mine": b"1"}, start)
    world.work()
    world.put({"other": b"theirs"})
    world.work()
    late = world.put({"other": b"overwritten"}, mine)
    fine = world.put({"mine": b"2"}, mine)
    world.work()
    assert world.status(late) == "conflicted"
    assert world.status(fine) == "committed"
    assert world.files() == {"mine": b"2", "other": b"theirs"}
