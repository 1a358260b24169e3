"""Tags as the view has them. Everything here raises ViewAbsent and redis.RedisError."""

from __future__ import annotations

from collections.abc import Sequence

from storage.base.ids import ObjectId, oid_of
from storage.view.view import View, prefixes


def tags_of(view: View, names: Sequence[str]) -> dict[str, ObjectId]:
    """Return what these tags name, tag objects and commits, without those that are not there."""
    rows = view.redis.hmget(view.key("tags"), names) if names else []
    return {name: oid_of(row.decode()) for name, row in zip(names, rows, strict=True) if row}


def next_tags(view: View, after: str, limit: int) -> list[tuple[str, ObjectId]]:
    """Return the tags behind the name `after`, in the order of the bytes of their names, with what they name."""
    names = view.tag_names(after, limit)
    there = tags_of(view, names)  # one may be deleted in between
    return [(name, there[name]) for name in names if name in there]


def tag_in_the_way(view: View, name: str) -> str | None:
    """Return a tag beside which a tag with this name cannot stand as a ref: `a` beside `a/b`. None where there is none.

    Costs a look-up of the names above it, and one in the order of names.
    """
    above = tags_of(view, prefixes(name)[:-1])
    below = view.tag_names(name + "/", 1)
    return next(iter(above), None) or next((each for each in below if each.startswith(name + "/")), None)
