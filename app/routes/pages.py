"""Answers of several routes: a page of a list (`items`, and `next`, the cursor after them), a file's bytes.

A page is limited by its `limit`, by the bytes of its items (`max_page_bytes`), and, if items are expensive, by the time
that they take. It always has at least one item, so that a client makes progress.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from flask import Response, current_app, request

from app.protocol import cursors
from app.service.services import services
from storage.backends.turns import breathe
from storage.git.objects import Version

Json = dict[str, Any]
T = TypeVar("T")


def page(
    name: str,
    filters: cursors.Filters,
    rows: Iterable[T],
    limit: int,
    position: Callable[[T], cursors.Position],
    show: Callable[[Sequence[T]], Iterable[Json | None]],
    *,
    looked: int | cursors.Position | None = None,
    together: int = 16,
    seconds: float = math.inf,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """Answer with a page of the list `name`, made of `rows`.

    `rows` go on behind `limit` where the list does, and `position` returns a row's position in it. `show` returns the
    items of some rows, in order, None for what is not there any more; it is given `together` rows at once at most, and
    no more than are likely to have room. Rows that were `looked` through up to a position only go on there as well. No
    further item is begun after `seconds`. `more` stands beside the items.
    """
    made = _Page(limit, services().settings.max_page_bytes, time.monotonic() + seconds)
    rest = iter(rows)
    behind = False
    while not behind and (batch := list(islice(rest, made.next_batch(together)))):
        behind = not made.add(batch, show(batch))
    behind = behind or next(rest, None) is not None
    following = None
    if behind:
        following = cursors.encode(name, filters, position(made.last))
    elif looked is not None:
        following = cursors.encode(name, filters, looked if isinstance(looked, tuple) else (looked,))
    return made.response({"next": following, **(more or {})})


class _Page:
    """The items of one page, as they will be sent."""

    def __init__(self, limit: int, most_bytes: int, end: float) -> None:
        self.last: Any = None  # the last row that is on the page
        self._limit = limit
        self._most = most_bytes
        self._end = end
        self._over = False
        self._rows = 0
        self._size = 0
        self._items: list[str] = []

    def next_batch(self, together: int) -> int:
        """Return how many rows to show next: as many as likely have room, by those before; 0 at the end."""
        if self._over:
            return 0
        likely = together if not self._size else (self._most - self._size) * self._rows // self._size
        return min(max(1, likely), together, self._limit - self._rows)

    def add(self, batch: Sequence[T], items: Iterable[Json | None]) -> bool:
        """Add the items of a batch of rows; tell whether all of them were added."""
        shown: Iterator[Json | None] = iter(items)
        for row in batch:
            if self._over or not self._take(row, next(shown)):
                return False
            breathe()  # others may run: an item is bounded, and a page is many
            self._over = time.monotonic() > self._end
        return True

    def _take(self, row: Any, item: Json | None) -> bool:
        if item is not None:
            text = current_app.json.dumps(item, separators=(",", ":"))
            if self._items and self._size + len(text) > self._most:
                return False
            self._items.append(text)
            self._size += len(text) + 1
        self._rows += 1
        self.last = row
        return True

    def response(self, more: Json) -> Response:
        """Return the page; each item was made into JSON once."""
        rest = current_app.json.dumps(more, separators=(",", ":"))
        return current_app.response_class(
            '{"items":[' + ",".join(self._items) + "]," + rest[1:] + "\n", mimetype="application/json"
        )


def of_commit(response: Response, commit: str) -> Response:
    """Say in the head of an answer of which commit it is."""
    response.headers["X-Sluice-Commit"] = commit
    return response


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
