"""Heartbeats of Celery nodes and of beat, written to Redis as long as their event loop runs.

The loop only records the time, and a thread writes to Redis, so that a slow Redis never blocks the loop.
The thread does not log: a child that is forked at that moment would inherit the logger's lock in its locked state.
"""

import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import redis
from celery import beat, bootsteps

from storage.backends.redis_client import connect
from storage.base import settings
from storage.base.settings import Settings
from storage.coordination import EVERY, Node, Nodes
from storage.view.view import View

# A loop that has not gone round for so long (seconds) hangs.
_HANGS = 3.0
# A call of Redis that takes longer has failed; the next one is on another connection.
_PATIENCE = 2.0


class Heartbeat:
    """Reports that a node is alive, as long as `beat` is called."""

    def __init__(self, node: Node, chosen: Settings) -> None:
        """Begin."""
        short = replace(chosen, redis_timeout=_PATIENCE, redis_connections=2)
        self._node = node
        self._nodes = Nodes(View(short, connect(short)))
        self._last = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Record that the loop has run once."""
        self._last = time.monotonic()

    def end(self) -> None:
        """Remove the node: it takes no more messages."""
        self._over.set()
        self._thread.join(2 * _PATIENCE)
        with suppress(redis.RedisError):
            self._nodes.say(self._node, at_work=False)

    def _run(self) -> None:
        while not self._over.is_set():
            if time.monotonic() - self._last <= _HANGS:
                with suppress(redis.RedisError, OSError):  # repeated in a second
                    self._nodes.say(self._node)
            self._over.wait(EVERY)


class SaysAlive(bootsteps.StartStopStep):
    """Sends a node's heartbeat while it consumes messages: not while it connects to its broker or stops."""

    # Behind the step that consumes, so that a node which says so is one that takes messages.
    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._heartbeat: Heartbeat | None = None
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        """Begin."""
        queues = tuple(sorted(consumer.app.amqp.queues.consume_from))
        self._heartbeat = Heartbeat(Node(consumer.hostname, queues, os.getpid()), settings.load())
        self._timer = consumer.timer.call_repeatedly(EVERY, self._heartbeat.beat)

    def stop(self, consumer: Any) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        if self._heartbeat is not None:
            self._heartbeat.end()
        self._heartbeat = self._timer = None

    shutdown = stop


class Scheduler(beat.Scheduler):
    """Beat's schedule in memory, with a heartbeat."""

    _heartbeat: Heartbeat | None = None

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send the messages that are due, and record a heartbeat."""
        if self._heartbeat is None:
            self._heartbeat = Heartbeat(Node(f"beat@{socket.gethostname()}", ("beat",), os.getpid()), settings.load())
        self._heartbeat.beat()
        return float(super().tick(*args, **kwargs))

    def close(self) -> None:
        """End."""
        if self._heartbeat is not None:
            self._heartbeat.end()
            self._heartbeat = None
        super().close()
