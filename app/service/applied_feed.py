"""News of applied entries: what `apply` publishes, for the requests of a process that wait for it."""

import threading
import time
from collections.abc import Callable, Mapping

import redis
import structlog

from storage.backends.primary import RENEWED_EVERY
from storage.backends.redis_client import UNAVAILABLE
from storage.repository import Repository

log = structlog.get_logger()

AT_LEAST_EVERY = 1.0
"""Seconds after which one looks without news: a message of Redis may be lost."""
_PAUSE = 0.2  # seconds before it listens again


class AppliedFeed:
    """A thread that calls `look` whenever entries may have been applied, as long as somebody waits for that.

    Several entries may be one piece of news. What `look` raises is logged, and it is called again.
    """

    def __init__(
        self, repo: Repository, name: str, look: Callable[[], None], others: Mapping[str, Callable[[bytes], None]] = {}
    ) -> None:
        """`others` are further channels, each with what is called with a message of it."""
        self._repo = repo
        self._name = name
        self._look = look
        self._others = {channel.encode(): hear for channel, hear in others.items()}
        self._waiting = 0
        self._stopping = False
        self._changed = threading.Condition()  # either of them
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; returns when it has ended."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    def enter(self) -> None:
        """Count one more who waits, until `leave`."""
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()

    def leave(self) -> None:
        """Count one less."""
        with self._changed:
            self._waiting -= 1

    def _is_needed(self, timeout: float | None = None) -> bool:
        """Return whether somebody waits, after waiting for that."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping, timeout)
            return self._waiting > 0 and not self._stopping

    def _run(self) -> None:
        while not self._stopping:
            try:
                if self._is_needed():
                    with self._repo.redis.pubsub(ignore_subscribe_messages=True) as channel:
                        channel.subscribe(self._repo.view.applied_channel, *self._others)
                        self._listen(channel)
                continue
            except UNAVAILABLE as error:
                log.info("applied_feed_interrupted", feed=self._name, reason=str(error))
            except Exception:
                log.exception("applied_feed_failed", feed=self._name)  # for one who waits, perhaps, and others do too
            time.sleep(_PAUSE)  # Redis is away or empty; there is no event to wait for

    def _listen(self, channel: redis.client.PubSub) -> None:
        until = time.monotonic() + RENEWED_EVERY
        while self._is_needed(RENEWED_EVERY) and time.monotonic() < until:
            self._look()
            message = channel.get_message(timeout=AT_LEAST_EVERY)
            # Several entries may have been applied by now: one look serves them all.
            while message is not None:
                if hear := self._others.get(message["channel"]):
                    hear(message["data"])
                message = channel.get_message(timeout=0)
