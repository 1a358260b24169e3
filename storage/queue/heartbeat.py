"""The heartbeat of running batches: a thread that extends their leases and locks while this process lives.

So a batch that a slow store delays keeps its claim and its locks; those of a process that died expire after `lock_ttl`.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import redis
import structlog

from storage.base.settings import Settings
from storage.queue.queue import Queue
from storage.queue.states import Claimed

log = structlog.get_logger()

# Without a batch for so many seconds the thread ends; the next batch starts another. So does the first after a fork.
_IDLE = 5.0


@dataclass(slots=True)
class _Batch:
    claimed: Sequence[Claimed]
    spoke: float
    until: float


class Heartbeat:
    """The batches of this process."""

    def __init__(self, settings: Settings, queue: Queue) -> None:
        self._queue = queue
        self._every = settings.lock_ttl / 3
        # Past its budget a batch is stuck elsewhere, and its claim may end.
        self._longest = settings.batch_budget + settings.lock_ttl
        self._batches: dict[str, _Batch] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def of(self, owner: str, claimed: Sequence[Claimed]) -> Iterator[None]:
        """Keep the claim of `owner` alive during this block."""
        now = time.monotonic()
        with self._lock:
            self._batches[owner] = _Batch(claimed, now, now + self._longest)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._batches.pop(owner, None)

    def _run(self) -> None:
        busy = time.monotonic()
        while True:
            time.sleep(min(1.0, max(0.1, self._every / 2)))
            now = time.monotonic()
            with self._lock:
                if self._batches:
                    busy = now
                elif now - busy > _IDLE:
                    self._thread = None
                    return
                due = [(o, b) for o, b in self._batches.items() if now - b.spoke >= self._every and now < b.until]
            for owner, batch in due:
                batch.spoke = now
                try:
                    self._queue.renew(owner, batch.claimed)
                except redis.RedisError as error:
                    log.warning("claim_not_renewed", owner=owner, reason=str(error))
