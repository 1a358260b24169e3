"""What is read cold from one pack is read together."""

from __future__ import annotations

import pytest

from storage.backends.bucket import Bucket
from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.repository import Repository
from tests.support.world import World


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
