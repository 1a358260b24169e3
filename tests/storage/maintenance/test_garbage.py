"""Collecting garbage: what no entry names goes, what any entry names or may yet name stays, whenever anybody dies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from msgspec import structs

from app.admin.verify import verify
from storage.base.ids import PackId, new_ulid
from storage.base.settings import Settings
from storage.commit.append_loop import Draft, append
from storage.commit.records import without_commits
from storage.git.objects import Kind, object_id
from storage.log.store_pack import pack_of, store_pack
from storage.maintenance import garbage
from storage.maintenance.garbage import collect
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.world import World


@pytest.fixture
def world(settings: Settings) -> World:
    made = World(Repository(replace(settings, gc_grace=-1.0, gc_packs=4)))
    made.put({"f": b"1"})
    made.work()
    return made


def orphan(world: World, content: bytes = b"nobody's") -> str:
    """Store a pack that no entry names, as a batch does that dies before it appends."""
    blob = {object_id(Kind.BLOB, content): (Kind.BLOB, content)}
    return store_pack(world.repo.bucket, pack_of(blob))[0]


def stored(world: World) -> set[str]:
    return {name.rpartition(".")[0] for name in world.repo.bucket.list_keys("packs/")}


def collect_all(world: World) -> list[str]:
    deleted: list[str] = []
    for _ in range(20):
        found = collect(world.repo)
        deleted += found.deleted
        if found.complete:
            return deleted
    raise AssertionError("the listing has no end")


def test_garbage_goes_and_nothing_else(world: World) -> None:
    named = stored(world)
    orphans = {orphan(world, b"%d" % i) for i in range(9)}
    half = f"packs/{new_ulid()}"
    world.repo.bucket.create(half + ".pack", b"cut short")
    found = collect(world.repo, dry_run=True)
    assert found.garbage and not found.deleted and stored(world) == named | orphans | {half}
    assert set(collect_all(world)) == orphans | {half} and stored(world) == named
    assert collect_all(world) == []
    world.put({"g": b"1"})
    world.work()
    assert world.files() == {"f": b"1", "g": b"1"} and not verify(world.repo).differences


def test_what_is_young_stays(world: World) -> None:
    world = world.reopened(gc_grace=3600.0)
    orphan(world)
    assert collect_all(world) == []


def test_a_batch_that_was_overtaken_cannot_name_what_was_condemned(world: World) -> None:
    """The batch stored its pack and was stopped; when it goes on, its place in the log is taken."""
    repo = Repository(world.repo.settings)
    snapshot = repo.view.snapshot()
    pack = orphan(world)
    assert collect_all(world) == [pack]
    entry = structs.replace(without_commits(snapshot.head), packs=((pack, 1),))
    assert not append(repo, snapshot, Draft(entry, None))
    assert not verify(world.repo).differences


def test_what_is_named_while_it_is_being_condemned_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch appends between the collection's look and its entry."""
    world.put({"g": b"1"})
    before = stored(world)
    look = garbage._unnamed
    times: list[int] = []

    def looked(repo: Repository, packs: list) -> list:
        found = look(repo, packs)
        if found and not times:
            times.append(1)
            world.work()  # names the pack, in the very place that the collection wants
        return found

    orphaned = orphan(world)
    monkeypatch.setattr(garbage, "_unnamed", looked)
    collect_all(world)
    assert orphaned not in stored(world) and stored(world) > before - {orphaned}
    assert world.files()["g"] == b"1" and not verify(world.repo).differences


@pytest.mark.parametrize("victim", ["create", "delete"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_one_that_is_killed_is_finished_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch, victim: str, call: int
) -> None:
    orphans = {orphan(world, b"%d" % i) for i in range(3)}
    calls: list[str] = []
    real: Callable[..., object] = getattr(world.repo.bucket, victim)

    def dies(*args: object) -> object:
        calls.append(victim)
        if len(calls) == call:
            raise SystemExit
        return real(*args)

    with monkeypatch.context() as dying:
        dying.setattr(world.repo.bucket, victim, dies)
        with contextlib.suppress(SystemExit):
            collect_all(world)
    collect_all(world)
    assert not stored(world) & orphans and not verify(world.repo).differences


def test_a_late_put_of_what_was_condemned_is_deleted_too(world: World) -> None:
    pack = orphan(world)
    applied = world.repo.view.head().applied
    assert collect_all(world) == [pack]
    world.repo.bucket.create(pack + ".pack", b"late")
    assert collect_all(world) == [pack] and pack not in stored(world)
    assert world.repo.view.head().applied == applied + 1, "it is condemned once"


def test_a_view_of_an_older_version_condemns_nothing(world: World) -> None:
    orphan(world)
    repo = world.repo
    old = repo.view.epoch()
    assert old is not None
    new = "01" + "0" * 24
    prefix = repo.view.prefix
    for key in list(repo.redis.scan_iter(prefix.replace("{", "[{]").replace("}", "[}]") + f"v:{old}:*")):
        repo.redis.rename(key, key.replace(old.encode(), new.encode()))
    repo.redis.set(prefix + "epoch", new)
    repo.redis.delete(repo.view.key("packs"), prefix + "epochs")
    assert collect(repo).listed == 0
    run_upkeep(repo)
    assert repo.view.epoch() not in {old, new} and repo.view.unnamed_packs([PackId("none")]) == ["none"]
    assert len(collect_all(world)) == 1 and not verify(repo).differences
