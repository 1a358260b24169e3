"""Answers that several routes give: a page of a list (`items`, and `next`, the cursor behind them), a file's bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from flask import Response, request

from app import cursors
from app.services import services
from storage.objects import Version

# A page ends after this many times `max_shown_bytes`, whatever its limit.
_PAGE_FILES = 4

T = TypeVar("T")


def page(
    name: str,
    filters: cursors.Filters,
    found: Sequence[T],
    limit: int,
    position: Any,
    looked: int | None = None,
) -> tuple[list[T], dict[str, Any]]:
    """Return the items of a page, and the answer to put them in.

    `found` has one more than `limit` where the list goes on; `position` returns an item's place in it as a tuple. Where
    it was `looked` through up to a place only, it goes on as well.
    """
    items = list(found[:limit])
    following = None
    if len(found) > limit:
        following = cursors.encode(name, filters, position(items[-1]))
    elif looked is not None:
        following = cursors.encode(name, filters, (looked,))
    return items, {"items": [], "next": following}


def page_room() -> int:
    """Return after how many bytes a page ends."""
    return services().settings.max_shown_bytes * _PAGE_FILES


def blob_response(version: Version, content: bytes) -> Response:
    """Answer with a file's bytes, or that the client has them already."""
    response = Response(content_type="application/octet-stream")
    response.set_etag(version.oid.hex())
    response.headers["X-Git-Mode"] = f"{version.mode:06o}"
    response.headers["X-Content-Type-Options"] = "nosniff"
    # Weakly, as RFC 9110 has it: a proxy that compresses an answer makes its tag a weak one.
    if request.if_none_match.contains_weak(version.oid.hex()):
        response.status_code = 304
    else:
        response.set_data(content)
    return response
