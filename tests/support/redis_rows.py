"""What one repository keeps in Redis; the tests share a server, so nothing outside of that is touched."""

from __future__ import annotations

from storage.repository import Repository
from tests.support.world import World


def rows(repo: Repository) -> dict[bytes, object]:
    """Return everything that the published epoch has, but for the cursors of caches."""
    prefix = repo.view.key("").encode()
    found: dict[bytes, object] = {}
    for key in repo.redis.scan_iter(prefix.replace(b"{", b"[{]").replace(b"}", b"[}]") + b"*"):
        name = key.removeprefix(prefix)
        match repo.redis.type(key):
            case b"string":
                found[name] = repo.redis.get(key)
            case b"hash":
                found[name] = repo.redis.hgetall(key)
            case b"zset":
                found[name] = repo.redis.zrange(key, 0, -1, withscores=True)
    return {
        name: value
        for name, value in found.items()
        if not name.startswith((b"inbox:", b"checkpointed", b"rolled", b"gc:"))
    }


def keys(world: World) -> list[bytes]:
    escaped = world.repo.view.prefix.replace("{", "[{]").replace("}", "[}]")
    return list(world.repo.redis.scan_iter(escaped + "*", count=1000))


def flush(world: World) -> None:
    """Take everything of this repository out of Redis, as FLUSHALL would."""
    world.repo.redis.delete(*keys(world))
