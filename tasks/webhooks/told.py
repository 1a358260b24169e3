"""The events of the log behind a position, as webhooks are told them. Entries are shared by all runs of a process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cachetools import LRUCache

from storage.backends import deadline
from storage.backends.bucket import BucketError
from storage.log.entry import decode
from storage.log.events import EntryEvents, Event, Position, events, events_of
from storage.log.records import Status
from storage.repository import Repository

TYPE = "changeset."
"""What the type of a body begins with; the event's name follows."""
PING = "ping"
# Reasons of events whose records have none: what became of the changeset is the reason.
_REASONS = {Status.CONFLICTED: "conflict", Status.ABANDONED: "abandoned"}
# Left out of a body that would be too large, in this order.
_LONG = ("conflicts", "detail")


@dataclass(frozen=True, slots=True)
class Told:
    """An event, and where it stands."""

    id: str  # <seq>-<index>
    event: Event
    time: int | None  # of its entry, in seconds; None where the entry has none


class Source:
    """The events of one repository's log, with a cache of `stream_cache_bytes`."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        size = repo.settings.stream_cache_bytes
        self._cache: LRUCache[int, tuple[EntryEvents, int | None]] = LRUCache(size, getsizeof=lambda told: told[0].size)
        self._lock = threading.Lock()

    def behind(self, position: Position, applied: int) -> Iterator[tuple[Position, Told | None]]:
        """Yield the events behind a position, up to an entry, each with the position behind it; None ends an entry.

        Raises BucketError and CorruptEntry.
        """
        for seq in range(position.seq, applied + 1):
            yield from self._of(seq, position.sent if seq == position.seq else 0)
            yield Position(seq + 1), None

    def at(self, position: Position) -> Told | None:
        """Return the event in front of a position, None where there is none. Raises BucketError and CorruptEntry."""
        for reached, told in self._of(position.seq, position.sent - 1):
            return told if reached == position else None
        return None

    def _of(self, seq: int, skip: int) -> Iterator[tuple[Position, Told]]:
        entry, time = self._entry(seq)
        merged = range(entry.merged.first, entry.merged.through + 1) if entry.merged else range(0)
        for index, event in events(entry, (self._entry(each)[0] for each in merged), skip):
            yield Position(seq, index + 1), Told(f"{seq}-{index}", event, time)

    def _entry(self, seq: int) -> tuple[EntryEvents, int | None]:
        with self._lock:
            known = self._cache.get(seq)
        if known is not None:
            return known
        with deadline.budget("batch_budget", self._repo.settings.batch_budget):
            data = self._repo.log.read(seq)
        if data is None:
            raise BucketError(f"entry {seq} is not there")
        entry = decode(data)
        made = events_of(entry), getattr(entry, "time", None) or None
        with self._lock:
            if made[0].size <= self._cache.maxsize:
                self._cache[seq] = made
        return made


def body_of(told: Told, most: int) -> bytes:
    """Return the body that tells an event: the same whenever it is told. Above `most` bytes without its details."""
    data: dict[str, Any] = {"event": told.id, **json.loads(told.event.data)}
    reason = _REASONS.get(data["status"])
    if reason:
        data.setdefault("reason", reason)
    body = _body(told.event.name, told.time, data)
    for name in _LONG:
        if len(body) > most and data.pop(name, None) is not None:
            data["truncated"] = True
            body = _body(told.event.name, told.time, data)
    return body


def ping_body(webhook_id: str, seconds: int) -> bytes:
    """Return the body of a ping."""
    return _encoded({"type": PING, "timestamp": _shown(seconds), "data": {"webhook": webhook_id}})


def _body(name: str, seconds: int | None, data: dict[str, Any]) -> bytes:
    return _encoded({"type": TYPE + name, "timestamp": _shown(seconds), "data": data})


def _encoded(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _shown(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
