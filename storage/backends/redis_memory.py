"""How full Redis is: the part of its `maxmemory` that is used, asked at most once a second.

Redis evicts nothing (its keys are the view and the queues), so at `maxmemory` it refuses writes that may need memory.
Two settings prevent that: above `redis_memory_compact` history leaves Redis before `history_age`, and cached copies
are dropped; above `redis_memory_high` the API refuses requests that add something.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis

from storage.base.batched import batched
from storage.base.settings import Settings

_AGE = 1.0  # seconds for which an answer holds
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Pressure:
    """Used memory and limit of Redis, in bytes."""

    used: int  # of what counts against the limit
    limit: int  # its maxmemory; 0: it has none, and refuses nothing

    @property
    def part(self) -> float:
        """The used part of the limit: 1 or more means full; 0 if there is no limit."""
        return self.used / self.limit if self.limit else 0.0


def pressure(client: redis.Redis) -> Pressure:
    """Ask Redis how full it is. Raises redis.RedisError."""
    info: dict[str, Any] = client.info("memory")
    # Buffers of replicas and of the AOF do not count (getMaxmemoryState in Redis).
    used = int(info["used_memory"]) - int(info.get("mem_not_counted_for_evict", 0))
    return Pressure(used, int(info.get("maxmemory", 0)))


class Memory:
    """The memory of this process's Redis, by the settings of the deployment. Safe for threads."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        self._client = client
        self._compact, self._high = settings.redis_memory_compact, settings.redis_memory_high
        self._last = Pressure(0, 0)
        self._until = 0.0

    def now(self) -> Pressure:
        """Return how full Redis was within the last second; if it does not answer, its last answer."""
        now = time.monotonic()
        if now >= self._until:
            self._until = now + _AGE  # before it is asked: one of many threads asks
            with suppress(redis.RedisError):  # whoever needs Redis will meet the error
                self._last = pressure(self._client)
        return self._last

    def is_tight(self) -> bool:
        """Tell whether history has to leave Redis early (redis_memory_compact)."""
        return self.now().part >= self._compact

    def is_high(self) -> bool:
        """Tell whether nothing more may be added to Redis (redis_memory_high)."""
        return self.now().part >= self._high


def delete_all(client: redis.Redis, prefix: str) -> int:
    """Delete the keys that begin with `prefix`, in batches; return how many. Raises redis.RedisError."""
    escaped = "".join(f"[{c}]" if c in "*?[]^\\" else c for c in prefix)
    matching = client.scan_iter(f"{escaped}*", count=_AT_ONCE)
    return sum(int(client.unlink(*keys)) for keys in batched(matching, _AT_ONCE))
