"""Webhooks as the view has them. Everything here raises ViewAbsent and redis.RedisError."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.json import Decoder

from storage.log.events import Position
from storage.view.view import View
from storage.webhooks.records import Webhook

_decode = Decoder(Webhook).decode


def read_webhooks(view: View) -> list[Webhook]:
    """Return all webhooks: `max_webhooks` at most."""
    return [_decode(row) for row in view.redis.hgetall(view.key("webhooks")).values()]


def webhooks_of(view: View, ids: Sequence[str]) -> list[Webhook]:
    """Return the webhooks with these ids, without those that are not there."""
    rows = view.redis.hmget(view.key("webhooks"), ids) if ids else []
    return [_decode(row) for row in rows if row]


def count_webhooks(view: View) -> int:
    """Return how many webhooks there are."""
    return int(view.redis.hlen(view.key("webhooks")))


def durable_positions(view: View) -> dict[str, Position]:
    """Return how far webhooks have come by the log: by id, the position behind what they were told."""
    rows = view.redis.hgetall(view.key("webhook_cursors"))
    return {webhook.decode(): Position(*map(int, row.split())) for webhook, row in rows.items()}
