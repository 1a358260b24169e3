"""What is read cold from one pack is read together."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.backends.bucket import Bucket
from storage.base.ids import ObjectId, PackId
from storage.base.settings import Settings
from storage.git.packs import HEADER_BYTES, Location, PackRange
from storage.lookup.object_store import _GAP, _RUN_BYTES, Located, runs
from storage.repository import Repository
from tests.support.world import World

LENGTHS = st.lists(st.tuples(st.integers(0, 2 * _GAP), st.integers(1, _RUN_BYTES)), max_size=30)


@given(st.dictionaries(st.sampled_from(["packs/A", "packs/B"]), LENGTHS), st.randoms())
def test_runs_have_all_objects_of_a_pack_that_are_near_in_order(
    packs: dict[str, list[tuple[int, int]]], chance: Random
) -> None:
    located: list[Located] = []
    for pack, objects in packs.items():
        at = HEADER_BYTES
        for gap, length in objects:
            at += gap
            oid = ObjectId(len(located).to_bytes(20, "big"))
            located.append((oid, Location(PackId(pack), PackRange(at, length, 0))))
            at += length
    shuffled = located.copy()
    chance.shuffle(shuffled)
    made = runs(shuffled)
    assert sorted(pair for run in made for pair in run) == sorted(located)
    for run in made:
        assert len({location.pack for _, location in run}) == 1
        ranges = [location.range for _, location in run]
        assert all(0 <= after.offset - before.end <= _GAP for before, after in pairwise(ranges))
        assert len(run) == 1 or ranges[-1].end - ranges[0].offset <= _RUN_BYTES


def test_the_cold_trees_of_a_batch_are_read_by_one_request(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(Repository(settings))
    paths = [f"dir{i}/file" for i in range(40)]
    world.put(dict.fromkeys(paths, b"x"))
    world.work()
    world.repo.objects.drop_copies()
    cold = Repository(settings)
    root = bytes.fromhex(cold.view.head().root)
    asked: list[str] = []
    get = Bucket.get_range

    def counted(bucket: Bucket, name: str, offset: int, length: int) -> bytes:
        asked.append(name)
        return get(bucket, name, offset, length)

    monkeypatch.setattr(Bucket, "get_range", counted)
    cold.objects.prefetch_paths(ObjectId(root), [path.encode() for path in paths])
    assert len(asked) == 2, "the root, and then all that stands below it"
    monkeypatch.setattr(Bucket, "get_range", lambda *_: pytest.fail("all of it is here now"))
    assert [cold.objects.tree(oid).size for oid in cold.objects.tree(ObjectId(root)).directories()]
