"""Entries are read once for all stores of a process, and each is checked against the one before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.backends.bucket import Bucket
from storage.base.settings import Settings
from storage.clones.clone import Clone
from storage.clones.clones import Clones
from storage.clones.entries import RecentEntries
from storage.log.entry import NO_HASH, CorruptEntry
from storage.operations.slices import define
from storage.repository import Repository
from tests.support.clones import commits_of, land
from tests.support.world import World


@pytest.fixture
def world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(Clone, "_keep_beside", lambda self: None)
    return World(Repository(settings))


def test_many_slices_read_an_entry_once(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slices = [define(world.repo, name, [f"{name}/"]) for name in ("a", "b", "c")]
    clones = Clones(world.reopened().repo, tmp_path)
    for each in slices:
        clones.of_slice(each).catch_up()
    land(world, {"a/1": b"1\n", "b/1": b"1\n", "c/1": b"1\n"})
    read: list[str] = []
    get = Bucket._get

    def noted(bucket: Bucket, name: str, **span: object) -> bytes:
        read.append(name)
        return get(bucket, name, **span)

    monkeypatch.setattr(Bucket, "_get", noted)
    for each in slices:
        clone = clones.of_slice(each)
        clone.catch_up(world.repo.view.head().applied)
        assert len(commits_of(clone)) == 1
    entries = [name for name in read if name.startswith("log/")]
    # Of each store that this process opens for the first time, the entry at which it stands was looked at before.
    assert len(entries) == len(set(entries)) > 0


def test_what_is_read_again_is_the_same_and_another_log_is_found_out(world: World) -> None:
    for step in range(3):
        land(world, {"a": b"%d\n" % step})
    last = world.repo.view.head().applied
    entries = RecentEntries(world.repo.log)
    first = list(entries.follow(1, last, NO_HASH))
    assert [entry.seq for entry, _ in first] == list(range(1, last + 1))
    assert list(entries.follow(1, last, NO_HASH)) == first
    assert list(entries.follow(3, last, first[1][1])) == first[2:]
    assert list(entries.follow(3, last + 5, first[1][1])) == first[2:]
    for seq in (1, 3):
        with pytest.raises(CorruptEntry):
            list(entries.follow(seq, last, "ab" * 32))
