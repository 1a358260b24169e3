"""A view of an older format beside new workers: they go on with it, and upkeep has it loaded anew."""

from __future__ import annotations

import pytest

from app.admin.verify import verify
from storage.base.settings import Settings
from storage.maintenance.garbage import collect
from storage.repository import Repository
from storage.view import view as view_module
from storage.view.view import is_current
from tasks.upkeep import run as run_upkeep
from tests.support.compaction import aged
from tests.support.world import World


@pytest.fixture
def world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> World:
    """A repository whose view was loaded by a version with an older format."""
    with monkeypatch.context() as older:
        older.setattr(view_module, "FORMAT", view_module.FORMAT - 1)
        made = World(Repository(aged(settings, gc_grace=-1000.0)))
        made.put({"f": b"1"})
        made.work()
    assert not is_current(made.repo.view.epoch() or "")
    return made


def test_new_workers_commit_and_merge_on_it_until_upkeep_loads_the_new_one(world: World) -> None:
    old = world.repo.view.epoch()
    second = world.put({"f": b"2"})
    world.work()
    assert world.status(second) == "committed" and world.repo.view.epoch() == old
    run_upkeep(world.repo)
    assert world.repo.view.epoch() != old and is_current(world.repo.view.epoch() or "")
    third = world.put({"f": b"3"})
    world.work()
    assert [world.status(each) for each in (second, third)] == ["committed"] * 2 and world.files() == {"f": b"3"}
    assert not verify(world.repo).differences


def test_nothing_is_taken_for_garbage_on_it(world: World) -> None:
    """What it does not know may be in use."""
    stored = {*world.repo.bucket.list_keys("packs/")}
    found = collect(world.repo)
    assert not found.garbage and not found.deleted
    assert {*world.repo.bucket.list_keys("packs/")} == stored
