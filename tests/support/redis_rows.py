"""What one repository keeps in Redis; the tests share a server, so nothing outside of that is touched."""

from __future__ import annotations

import redis

from storage.repository import Repository
from tests.support.world import World


def rows(repo: Repository) -> dict[bytes, object]:
    """Return everything that the published epoch has, but for the cursors of caches."""
    return {
        name: value
        for name, value in values(repo.redis, repo.view.key("")).items()
        if not name.startswith((b"inbox:", b"checkpointed", b"rolled", b"gc:"))
    }


def values(client: redis.Redis, prefix: str) -> dict[bytes, object]:
    """Return what stands below a prefix, by the rest of the key."""
    made: dict[bytes, object] = {}
    for key in client.scan_iter(_escape(prefix) + "*", count=1000):
        name = key.removeprefix(prefix.encode())
        match client.type(key):
            case b"string":
                made[name] = client.get(key)
            case b"hash":
                made[name] = client.hgetall(key)
            case b"zset":
                made[name] = client.zrange(key, 0, -1, withscores=True)
    return made


def keys(world: World, *beginnings: str) -> list[bytes]:
    """Return all keys of this repository, or those that begin with one of these, below its prefix."""
    prefix = _escape(world.repo.view.prefix)
    return [key for start in beginnings or ("",) for key in world.repo.redis.scan_iter(f"{prefix}{start}*", count=1000)]


def flush(world: World) -> None:
    """Take everything of this repository out of Redis, as FLUSHALL would."""
    _delete(world, keys(world))


def drop_shared(world: World) -> None:
    """Take out what processes share for some minutes: objects and manifests that were read."""
    _delete(world, keys(world, "object:", "manifest:"))


def copied(world: World, queues_only: bool = False) -> dict[bytes, bytes]:
    """Return the repository's rows as Redis has them now, for `restore`; without the view, if `queues_only`."""
    dumps = {key: world.repo.redis.dump(key) for key in keys(world) if not (queues_only and b":v:" in key)}
    return {key: dump for key, dump in dumps.items() if dump is not None}


def restore(world: World, copies: dict[bytes, bytes]) -> None:
    """Replace the rows that there are by copied ones."""
    for key, dump in copies.items():
        world.repo.redis.restore(key, 0, dump, replace=True)


def _delete(world: World, names: list[bytes]) -> None:
    if names:
        world.repo.redis.delete(*names)


def _escape(prefix: str) -> str:
    return prefix.replace("{", "[{]").replace("}", "[}]")
