"""A directory of many files, on real servers: what its changesets cost, and that they hold up nobody."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from app.admin.verify import verify
from storage.backends.bucket import Bucket
from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.commit.batch import commit_batch
from storage.git.objects import Kind, Tree, object_id
from storage.log.entry import Commits, decode
from storage.operations.seen import seen_by_writer as look
from storage.operations.slices import define
from storage.queue.submission_packs import read_changesets
from storage.repository import Repository
from tests.support.world import World, item

MEGABYTE = 1 << 20
LONG = "n" * 190
FILES = {f"big/{LONG}{i:05d}": b"x" for i in range(6000)}


@pytest.fixture
def world(settings: Settings) -> World:
    """A world whose directory `big` is a tree of more than a megabyte."""
    made = World(Repository(settings))
    made.put(FILES)
    made.work()
    return made


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What is read and parsed of trees above a megabyte."""
    counted: Counter[str] = Counter()
    parse, get_range = Tree.parse, Bucket.get_range

    def count_parse(data: bytes) -> Tree:
        if len(data) > MEGABYTE:
            counted["parsed", object_id(Kind.TREE, data)] += 1  # type: ignore[index]
        return parse(data)

    def count_range(bucket: Bucket, name: str, offset: int, length: int) -> bytes:
        if length > MEGABYTE:
            counted["read"] += 1
        return get_range(bucket, name, offset, length)

    monkeypatch.setattr(Tree, "parse", count_parse)
    monkeypatch.setattr(Bucket, "get_range", count_range)
    return counted


def test_a_batch_reads_a_large_directory_once_and_parses_it_at_most_twice(world: World, costs: Counter[str]) -> None:
    old = ObjectId(bytes.fromhex(world.repo.view.head().root))
    world.submit(
        item(world.all, {f"big/new{i:04d}": b"y" for i in range(2000)}, world.tip),
        item(world.all, dict.fromkeys(list(FILES)[:100]), world.tip),
        item(world.all, dict.fromkeys(list(FILES)[2000:4000], b"z"), world.tip),
    )
    worker = Repository(world.repo.settings)
    assert commit_batch(worker).changesets == 3
    assert costs.pop("read") == 1, "from the bucket, where Redis has no copies of what is so large"
    # Of the new one: to prove it, and to have it for the next batch.
    assert len(costs) == 2 and set(costs.values()) <= {1, 2}, "the old one and the new one, and none between them"
    assert old != worker.view.head().root
    costs.clear()
    world.put({"big/one-more": b"y"})
    assert commit_batch(worker).changesets == 1
    assert costs.pop("read", 0) == 0, "it is in this process"
    assert max(costs.values()) <= 2
    assert not verify(world.repo).differences


def test_what_writers_saw_in_a_large_directory_is_read_once_for_all_paths(world: World, costs: Counter[str]) -> None:

    changeset = world.put(dict.fromkeys(list(FILES)[:2000], b"z"))
    state = world.repo.queue.states([changeset])[1][0]
    reader = Repository(world.repo.settings)
    assert state.pack
    [said] = read_changesets(reader.archive, reader.queue, [(changeset, state.pack)])
    seen = look(reader, said, [change.path for change in said.changes])
    assert all(seen.versions.values()) and len(seen.versions) == 2000
    assert costs.pop("read") == 1 and set(costs.values()) == {1}


def test_many_changesets_in_a_large_directory_take_batches_and_block_none(world: World) -> None:
    size = MEGABYTE * 4 // 3
    worker = Repository(replace(world.repo.settings, batch_bytes=4 * size))
    small = define(world.repo, "small", ["small/"])
    tip = world.tip
    large = world.submit(*[item(world.all, {f"big/new{i}": b"y"}, tip) for i in range(12)])
    beside = world.submit(*[item(small, {f"small/{i}": b"y"}, tip) for i in range(4)])
    first = commit_batch(worker).changesets
    assert 4 <= first < 16
    assert [world.status(each) for each in large[:2]] == ["committed"] * 2, "in their order"
    batches = 1
    while commit_batch(worker).changesets:
        batches += 1
    assert 3 <= batches <= 8
    assert [world.status(each) for each in [*large, *beside]] == ["committed"] * 16
    packs = [size for entry in _commit_entries(world) for _, size in entry.packs]
    assert max(packs[1:]) < 6 * size, "and no pack is larger than a batch may be"
    assert not verify(world.repo).differences


def test_small_changesets_are_committed_beside_each_batch_of_large_ones(world: World) -> None:
    worker = Repository(replace(world.repo.settings, batch_bytes=2 * MEGABYTE))
    other = define(world.repo, "other", ["small/"])
    tip = world.tip
    world.submit(*[item(world.all, {f"big/new{i}": b"y"}, tip) for i in range(6)])
    beside = world.submit(*[item(other, {f"small/{i}": b"y"}, tip) for i in range(3)])
    commit_batch(worker)
    assert [world.status(each) for each in beside] != ["queued"] * 3


def _commit_entries(world: World) -> list[Commits]:

    found = [decode(data) for _, data in world.repo.log.read_from(1)]
    return [entry for entry in found if isinstance(entry, Commits)]
