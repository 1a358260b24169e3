"""A few path prefixes that hold all paths of a changeset, by which lists and events judge who may see it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

MOST, MOST_BYTES = 8, 512
"""Prefixes that a record names at most, and their bytes; what would need more is covered by directories further up."""
DEEPEST = 16
"""Directories of a prefix at most."""


def covering(paths: Iterable[bytes], most: int = MOST) -> tuple[bytes, ...]:
    """Return path prefixes that hold these paths: the paths themselves where they are few and short, else directories.

    Where the directories are more than `most`, the deepest of them are replaced by those above, in the end by `/`. None
    is deeper than DEEPEST, so that the work is bounded.
    """
    named = set(paths)
    if len(named) <= most and sum(map(len, named)) <= MOST_BYTES:
        return tuple(sorted(named))
    prefixes = {_directory(path) for path in named}
    while len(prefixes) > most or sum(map(len, prefixes)) > MOST_BYTES:
        if b"/" in prefixes:
            return (b"/",)
        depth = max(prefix.count(b"/") for prefix in prefixes)
        prefixes = {_above(each) if each.count(b"/") == depth else each for each in prefixes}
    return (b"/",) if b"/" in prefixes else tuple(sorted(prefixes))


def _directory(path: bytes) -> bytes:
    """Return the prefix of the directory that holds a path, but none deeper than DEEPEST."""
    return b"".join(part + b"/" for part in path.split(b"/", DEEPEST)[:-1]) or b"/"


def _above(prefix: bytes) -> bytes:
    """Return the prefix of the directory above a prefix."""
    return prefix[: prefix.rstrip(b"/").rfind(b"/") + 1] or b"/"
