"""Cursors: where a list continues. Opaque to users, and valid only for the list that returned them.

A cursor is base64url of a version byte, a short hash of the list's name and filters, and the position as JSON. The hash
detects that a client has mixed up lists; it is not a signature, so the position's types are checked too. Bytes are
base64 in the JSON, so that a path's control characters do not make it six times as long.
"""

import json
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256

from app.protocol.problems import invalid

VERSION = 2  # 2: bytes in base64
MAX_CHARACTERS = 8192  # the position in a tree is a path
MAX_NUMBER = 1 << 53  # scores in Redis are exact up to it

Position = tuple[str | int | bytes, ...]
Filters = Mapping[str, str | int | None]


def encode(name: str, filters: Filters, position: Position) -> str:
    """Return the cursor of the list `name`, narrowed by `filters`, behind `position`."""
    values = [b64encode(value).decode() if isinstance(value, bytes) else value for value in position]
    data = json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()
    return urlsafe_b64encode(_head(name, filters) + data).rstrip(b"=").decode()


def decode(cursor: str, name: str, filters: Filters, kinds: tuple[type, ...]) -> Position:
    """Return the position in `cursor`, of the types `kinds` (str, int or bytes). Raises a Problem if it has none."""
    head = _head(name, filters)
    with suppress(ValueError, RecursionError):
        data = _raw(cursor)
        if not data.startswith(head):
            raise invalid(
                "cursor", "belongs to another list, or was given by an earlier version of Sluice: begin again"
            )
        values = json.loads(data[len(head) :].decode())
        if isinstance(values, list):
            position = tuple(_value(value, kind) for value, kind in zip(values, kinds, strict=True))
            # Another spelling of the same position, with a lone surrogate for instance, is none that we gave.
            if encode(name, filters, position) == cursor:
                return position
    raise invalid("cursor", "is not a cursor of this list")


def _value(value: object, kind: type) -> str | int | bytes:
    """Return one value of a position; its type is compared exactly, since True is no number. Raises ValueError."""
    if type(value) is str and kind is bytes:
        return b64decode(value, validate=True)
    if type(value) is int and kind is int and 0 <= value <= MAX_NUMBER:
        return value
    if type(value) is str and kind is str:
        return value
    raise ValueError(value)


def _raw(cursor: str) -> bytes:
    if len(cursor) > MAX_CHARACTERS:
        raise ValueError("too long")
    data = b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    if data[:1] != bytes([VERSION]):
        raise ValueError("of no known version")
    return data


def _head(name: str, filters: Filters) -> bytes:
    """Return the version byte and the hash of a list; a filter that is None is none."""
    given = {key: value for key, value in filters.items() if value is not None}
    return bytes([VERSION]) + sha256(json.dumps([name, given], sort_keys=True).encode()).digest()[:8]
