"""Copies of objects in Redis, for all processes: limited by time, and by bytes through their rate.

Redis must not evict (its other keys are the view), so copies have an expiry. It is `shared_cache_seconds`, and shorter
if so many bytes are shared that they would exceed `shared_cache_bytes`: all processes count what they share in windows
of some seconds, and the expiry is the limit divided by that rate.
"""

import time
from collections.abc import Iterable, Sequence

import redis
import structlog

from storage.backends.primary import refuses_writes
from storage.backends.redis_memory import Memory, delete_all
from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.view.view import View

log = structlog.get_logger()

_WINDOW = 10  # seconds


class SharedCache:
    """The copies of one repository's objects. Objects are content-addressed, so no copy can be wrong."""

    def __init__(self, settings: Settings, view: View) -> None:
        self._redis = view.redis
        self._object = f"{view.prefix}object:".encode()
        self._count = f"{view.prefix}shared:"
        self._seconds = settings.shared_cache_seconds
        self._bytes = settings.shared_cache_bytes
        self._shared: dict[int, int] = {}  # bytes by window, as last heard
        self._memory = Memory(settings, view.redis)

    def get(self, oids: Sequence[ObjectId]) -> list[bytes | None]:
        """Return the copies that are there."""
        return self._redis.mget([self._object + oid for oid in oids])

    def put(self, objects: Iterable[tuple[ObjectId, bytes]]) -> None:
        """Share copies if Redis has room and accepts them; a failure does no harm."""
        if self._memory.is_tight():
            return
        try:
            self._put(objects)
        except redis.RedisError as error:
            if not refuses_writes(error):
                raise
            log.debug("not_shared", reason=str(error))

    def drop(self) -> int:
        """Delete all copies; return how many. Raises redis.RedisError."""
        return delete_all(self._redis, self._object.decode())

    def _put(self, objects: Iterable[tuple[ObjectId, bytes]]) -> None:
        window = int(time.time()) // _WINDOW
        life = self._life(window)
        pipeline, size = self._redis.pipeline(transaction=False), 0
        for oid, data in objects:
            pipeline.set(self._object + oid, data, ex=life)
            size += len(data)
        if not size:
            return
        key = f"{self._count}{window}"
        pipeline.incrby(key, size)
        pipeline.expire(key, 2 * _WINDOW)
        *_, total, _ = pipeline.execute()
        self._shared = {window - 1: self._shared.get(window - 1, 0), window: int(total)}

    def _life(self, window: int) -> int:
        busiest = max(self._shared.get(window - 1, 0), self._shared.get(window, 0))
        return max(1, min(self._seconds, self._bytes * _WINDOW // max(1, busiest)))
