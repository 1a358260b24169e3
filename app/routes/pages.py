"""Pages of lists: `items`, and `next`, the cursor behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from app import cursors

T = TypeVar("T")


def page(
    name: str, filters: cursors.Filters, found: Sequence[T], limit: int, position: Any, **more: Any
) -> tuple[list[T], dict[str, Any]]:
    """Return the items of a page, and the answer to put them in.

    `found` has one more than `limit` where the list goes on; `position` returns an item's place in it as a tuple.
    """
    items = list(found[:limit])
    following = cursors.encode(name, filters, position(items[-1])) if len(found) > limit else None
    return items, {"items": [], "next": following, **more}
