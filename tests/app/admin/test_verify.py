"""`verify` finds what is wrong: each kind of damage that it is there for, done by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from app.admin import verify as verify_module
from app.admin.verify import verify
from storage.base.settings import Settings
from storage.log.log import name_of
from storage.operations.slices import change_paths, define
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.compaction import aged_world, compacted
from tests.support.world import World, item

Damage = Callable[[Repository], object]


@pytest.fixture
def world(settings: Settings) -> World:
    """A repository with all that the view has rows for: landed, conflicted and closed, a slice that changed."""
    made = World(Repository(replace(settings, upkeep_interval=0.1)))
    other = define(made.repo, "other", ["x/", "y/"])
    change_paths(made.repo, other.id, ["x/"])
    base = made.tip
    made.put({"f": b"1"}, base)
    made.put({"f": b"2"}, base)
    made.work()
    return made


def _first(repo: Repository, pattern: str) -> bytes:
    return sorted(repo.redis.scan_iter(repo.view.key(pattern).replace("{", "[{]").replace("}", "[}]")))[0]


DAMAGE: dict[str, Damage] = {
    "an outcome is another": lambda repo: repo.redis.set(_first(repo, "outcome:*"), "{}"),
    "an outcome is gone": lambda repo: repo.redis.delete(_first(repo, "outcome:*")),
    "the head is another": lambda repo: repo.redis.hset(repo.view.key("head"), "root", "00" * 20),
    "a changeset is not in the chain": lambda repo: repo.redis.zremrangebyrank(repo.view.key("chain"), 0, 0),
    "a conflict is not open": lambda repo: repo.redis.delete(repo.view.key("open")),
    "a slice holds what it gave up": lambda repo: repo.redis.zadd(
        repo.view.key("covers:y/"), {repo.view.slice("other").id: 0}
    ),
    "a slice is gone": lambda repo: repo.redis.delete(repo.view.key("slices")),
    "a pack is gone": lambda repo: _raw(repo).remove_object(
        repo.settings.s3_bucket, _whole(repo, next(iter(repo.bucket.list_keys("packs/"))))
    ),
    "an accepted changeset is nowhere": lambda repo: repo.redis.delete(
        *repo.redis.scan_iter(repo.view.prefix.replace("{", "[{]").replace("}", "[}]") + "queue:*")
    ),
    "an entry is another": lambda repo: _rewrite(repo, 3),
}


def _raw(repo: Repository):
    return repo.bucket.s3.minio


def _whole(repo: Repository, name: str) -> str:
    return f"{repo.settings.repository}/{name}"


def _rewrite(repo: Repository, seq: int) -> None:
    from io import BytesIO

    entry = json.loads(repo.log.read(seq))
    data = json.dumps({**entry, "by": "somebody else"}, sort_keys=True, separators=(",", ":")).encode()
    _raw(repo).put_object(repo.settings.s3_bucket, _whole(repo, name_of(seq)), BytesIO(data), len(data))


def test_what_is_whole_has_no_differences(world: World) -> None:
    found = verify(world.repo)
    assert not found.differences and (found.committed, found.changesets) == (1, 2)


def test_what_is_left_to_upkeep_is_lost_only_when_that_had_its_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API process died when its pack was stored and not queued."""
    [(left, _)] = world.store([item(world.all, {"f": b"3"}, world.tip)])
    lost = f"inbox: changeset {left.id} has no outcome and is not queued"
    assert verify(world.repo).differences == [lost]
    turn = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: run_upkeep(world.repo))
    monkeypatch.setattr(verify_module, "time", turn)
    findings = verify(world.repo)
    assert not findings.differences and findings.queued == 1


def test_a_compaction_meanwhile_makes_no_difference(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = aged_world(world)
    check = verify_module._check_files

    def compact_then(*args: Any) -> None:
        check(*args)
        assert compacted(world)

    monkeypatch.setattr(verify_module, "_check_files", compact_then)
    assert not verify(world.repo).differences


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_found(world: World, damage: Damage) -> None:
    if damage is DAMAGE["an accepted changeset is nowhere"]:
        world.put({"waits": b"1"})
        assert not verify(world.repo).differences
    damage(world.repo)
    assert verify(world.repo, with_git=False).differences
