"""Warnings about paths that most likely say something else than was meant; for admins, who may read everything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from storage.base.ids import ObjectId
from storage.git.trees import ReadTree, lookup_many

MOST = 100
"""Warnings of an answer, at most."""


def enumerate_paths(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Return paths with the field of a request in which each stands."""
    return [(f"paths[{i}]", path) for i, path in enumerate(paths)]


def slashless(read: ReadTree, root: ObjectId, fields: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Return a warning for each path, given with its field, that is a directory in a tree and has no slash at its end.

    As a prefix it holds a file of that name and nothing below the directory. Raises Unavailable.
    """
    wanted = [(field, path) for field, path in fields if not path.endswith("/")]
    if not wanted:
        return []
    there = lookup_many(read, root, {path.encode() for _, path in wanted})
    return [
        {"field": field, "message": f"{path} is a directory: only {path}/ holds what is below it"}
        for field, path in wanted
        if (version := there[path.encode()]) is not None and version.is_tree
    ][:MOST]
