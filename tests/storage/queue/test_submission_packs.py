"""Reading changesets back from their submission packs, when Redis has no copy of their manifests."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from storage.base.settings import Settings
from storage.queue import submission_packs
from storage.queue.submission_packs import read_changesets
from storage.repository import Repository
from tests.support.world import World


@pytest.mark.parametrize(("small", "whole"), [(1 << 20, 0), (64, 3)], ids=["small-packs", "large-packs"])
def test_only_small_packs_are_in_memory_together(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, small: int, whole: int
) -> None:
    world = World(Repository(settings))
    wanted = [world.put({f"f{i}": b"content %d" % i}) for i in range(3)]
    claimed = [(one.id, one.pack) for one in world.repo.queue.claim("me")]
    world.repo.queue.drop_manifests()
    monkeypatch.setattr(submission_packs, "_SMALL_PACK", small)
    get, read_by = world.repo.bucket.get, []

    def counted(name: str) -> Any:
        read_by.append(threading.current_thread())
        return get(name)

    monkeypatch.setattr(world.repo.bucket, "get", counted)
    changesets = read_changesets(world.repo.archive, world.repo.queue, claimed)
    assert [one.id for one in changesets] == wanted
    assert [one.changes[0].path for one in changesets] == [b"f0", b"f1", b"f2"]
    assert read_by == whole * [threading.current_thread()], "large ones are read here, one after another"
