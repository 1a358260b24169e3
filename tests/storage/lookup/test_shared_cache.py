"""Copies in Redis: they are bounded by bytes, whatever is shared."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha1

import pytest

from storage.backends.redis_client import connect
from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.lookup import shared_cache
from storage.lookup.shared_cache import SharedCache
from storage.view.view import View


def made(settings: Settings, size: int = 1 << 20, seconds: int = 600) -> SharedCache:
    chosen = replace(settings, shared_cache_bytes=size, shared_cache_seconds=seconds)
    return SharedCache(chosen, View(settings, connect(settings)))


def objects(count: int, size: int, seed: str = "") -> list[tuple[ObjectId, bytes]]:
    return [(ObjectId(sha1(f"{seed}{i}".encode()).digest()), b"x" * size) for i in range(count)]


def lives(settings: Settings, cache: SharedCache) -> list[int]:
    client = connect(settings)
    return [client.ttl(key) for key in client.scan_iter(f"*{settings.repository}*object:*")]


def test_what_is_shared_is_there_for_every_process(redis_settings: Settings) -> None:
    some = objects(3, 10)
    made(redis_settings).put(some[:2])
    assert made(redis_settings).get([oid for oid, _ in some]) == [b"x" * 10, b"x" * 10, None]
    made(redis_settings).put([])


def test_lives_are_shorter_where_much_is_shared(redis_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_cache.time, "time", lambda: 1000.0)  # or a window may end in between
    cache = made(redis_settings, size=100_000)
    cache.put(objects(1, 1000))
    assert max(lives(redis_settings, cache)) > 500
    for i in range(20):
        cache.put(objects(1, 1000, str(i)))
    # 21,000 bytes in a window of 10 seconds: as much as is allowed lives for 47.
    cache.put(objects(1, 1000, "last"))
    client = connect(redis_settings)
    oid = objects(1, 1000, "last")[0][0]
    key = f"sluice:{{{redis_settings.repository}}}:object:".encode() + oid
    assert 1 <= client.ttl(key) <= 48


def test_processes_count_together_and_a_quiet_window_forgets(
    redis_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, clock = made(redis_settings, 100_000), made(redis_settings, 100_000), [1000.0]
    monkeypatch.setattr(shared_cache.time, "time", lambda: clock[0])
    one.put(objects(100, 10_000, "one"))
    other.put(objects(1, 10, "other"))
    assert one._life(100) == other._life(100) == 1
    clock[0] += 10
    assert other._life(101) == 1, "the window before counts as well"
    other.put(objects(1, 10, "more"))
    assert other._life(102) == 600
