"""Objects as they stand in packs, also such as no Git would write."""

from __future__ import annotations

import zlib


def entry(kind: int, data: bytes, before: bytes = b"") -> bytes:
    """Return an object of a pack; `before` is what stands between its size and its data."""
    size, first = len(data), (kind << 4) | (len(data) & 15)
    size >>= 4
    head = bytearray()
    while size:
        head.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    head.append(first)
    return bytes(head) + before + zlib.compress(data)
