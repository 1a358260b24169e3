"""Mirrors as the view has them. Everything here raises ViewAbsent and redis.RedisError."""

from __future__ import annotations

from msgspec.json import Decoder

from storage.mirrors.records import Mirror
from storage.view.view import View

_decode = Decoder(Mirror).decode


def read_mirrors(view: View) -> list[Mirror]:
    """Return all mirrors by name: `max_mirrors` at most."""
    rows = view.redis.hgetall(view.key("mirrors")).values()
    return sorted(map(_decode, rows), key=lambda mirror: mirror.name)


def mirror_of(view: View, name: str) -> Mirror | None:
    """Return the mirror with a name, None where there is none."""
    row = view.redis.hget(view.key("mirrors"), name)
    return _decode(row) if row else None
