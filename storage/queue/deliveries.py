"""What is known in Redis of the deliveries to each webhook: how far it has come, the last ones, and those asked for.

All of it is work: if it is lost, a webhook goes on where the log says that it was (a minute ago at most), tries anew,
and its list of deliveries is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from msgspec import Struct
from msgspec.json import Decoder, encode
from redis.exceptions import OutOfMemoryError

from storage.base.errors import LimitReached
from storage.base.ids import new_ulid
from storage.log.events import Position
from storage.view.view import View

log = structlog.get_logger()

MOST_WANTED = 100
"""Deliveries of one webhook that somebody asked for and that were not tried yet."""
_KEPT_SECONDS = 30 * 86_400
# A message that no run has taken within this time counts as lost (ms).
_MESSAGE_LIFE = 3_000


class Progress(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a webhook has come, and how it stands with the event that is next."""

    seq: int  # all events before this entry were told or passed over,
    sent: int = 0  # and so many of its own
    told: tuple[int, int] | None = None  # the position behind the last event that was told
    failed: int = 0  # tries of the next event
    due: float = 0.0  # when it is tried again, in seconds since 1970
    error: str | None = None  # of the last try
    url: str = ""  # that the last try called; with another one the wait is over

    @property
    def position(self) -> Position:
        """The position behind what was told or passed over."""
        return Position(self.seq, self.sent)

    def wait(self, url: str, now: float) -> float:
        """Return the seconds until the next try, at a URL; none where there was no try, or at another one."""
        return max(0.0, self.due - now) if url == self.url else 0.0


class Delivery(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One try to tell an event."""

    id: str  # the header webhook-id
    type: str
    time: float  # in seconds since 1970
    attempt: int
    seconds: float  # how long it took
    event: str | None = None  # the event's id; None: a ping
    status: int | None = None  # of the answer, if there was one
    error: str | None = None  # a word for programs; None: it was delivered
    answer: str = ""  # how the answer's body begins
    next: float | None = None  # when it is tried again
    by_hand: bool = False  # somebody asked for it


class Wanted(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A delivery that somebody asked for: an event again, or a ping."""

    id: str  # the header webhook-id
    event: str | None = None


_progress, _delivery, _wanted = Decoder(Progress).decode, Decoder(Delivery).decode, Decoder(Wanted).decode


class Deliveries:
    """The work of webhooks in Redis. Every method raises redis.RedisError."""

    def __init__(self, view: View) -> None:
        self._view = view

    def progress(self, ids: Sequence[str]) -> list[Progress | None]:
        """Return how far webhooks have come, None of those of which Redis knows nothing."""
        rows = self._view.redis.mget([self._progress_key(each) for each in ids]) if ids else []
        return [_progress(row) if row else None for row in rows]

    def save(self, webhook_id: str, progress: Progress) -> None:
        """Note how far a webhook has come, also while Redis is full."""
        key = self._progress_key(webhook_id).removeprefix(self._view.prefix)
        self._view.scripts("note", key, encode(progress))

    def record(self, webhook_id: str, delivery: Delivery, most: int) -> None:
        """Add to the list of a webhook's deliveries, which keeps the last `most`; a full Redis keeps what it has."""
        key = self._list_key(webhook_id)
        pipeline = self._view.redis.pipeline(transaction=True)
        pipeline.lpush(key, encode(delivery)).ltrim(key, 0, max(0, most - 1)).expire(key, _KEPT_SECONDS)
        try:
            pipeline.execute()
        except OutOfMemoryError as error:
            log.info("delivery_not_listed", webhook=webhook_id, reason=str(error))

    def recent(self, webhook_id: str, most: int) -> list[Delivery]:
        """Return the last deliveries, the newest first."""
        rows = self._view.redis.lrange(self._list_key(webhook_id), 0, most - 1)
        return [_delivery(row) for row in rows]

    def want(self, webhook_id: str, wanted: Wanted) -> None:
        """Ask for a delivery. Raises LimitReached."""
        key = self._wanted_key(webhook_id)
        if self._view.redis.llen(key) >= MOST_WANTED:
            raise LimitReached(f"{MOST_WANTED} deliveries that were asked for are waiting")
        self._view.redis.pipeline(transaction=True).rpush(key, encode(wanted)).expire(key, _KEPT_SECONDS).execute()

    def wanted(self, webhook_id: str) -> Wanted | None:
        """Return the first delivery that was asked for, which stays the first until `tried`."""
        row = self._view.redis.lindex(self._wanted_key(webhook_id), 0)
        return _wanted(row) if row else None

    def tried(self, webhook_id: str) -> None:
        """Forget the first delivery that was asked for."""
        self._view.redis.lpop(self._wanted_key(webhook_id))

    def have_wanted(self, ids: Sequence[str]) -> list[bool]:
        """Tell of each webhook whether a delivery was asked for."""
        pipeline = self._view.redis.pipeline(transaction=False)
        for each in ids:
            pipeline.exists(self._wanted_key(each))
        return [bool(there) for there in pipeline.execute()]

    def ask(self, webhook_id: str) -> bool:
        """Tell whether a message for a webhook is to be sent: none is on its way."""
        key = self._asked_key(webhook_id).removeprefix(self._view.prefix)
        return not self._view.scripts("take", key, new_ulid(), _MESSAGE_LIFE, 0)

    def answered(self, webhook_id: str) -> None:
        """Say that a run for a webhook is over: the next message may come at once."""
        self._view.redis.delete(self._asked_key(webhook_id))

    def forget(self, webhook_id: str) -> None:
        """Forget all of a webhook, which was deleted."""
        names: Any = (self._progress_key, self._list_key, self._wanted_key, self._asked_key)
        self._view.redis.delete(*(name(webhook_id) for name in names))

    def _progress_key(self, webhook_id: str) -> str:
        return f"{self._view.prefix}webhook_progress:{webhook_id}"

    def _list_key(self, webhook_id: str) -> str:
        return f"{self._view.prefix}webhook_deliveries:{webhook_id}"

    def _wanted_key(self, webhook_id: str) -> str:
        return f"{self._view.prefix}webhook_wanted:{webhook_id}"

    def _asked_key(self, webhook_id: str) -> str:
        return f"{self._view.prefix}webhook_asked:{webhook_id}"
