"""The index of paths of an imported history: which of its commits changed a path, newest first.

Commits have numbers, parents before children, in the order of their times as far as that allows. For a file and for
every directory above it there are the numbers of the commits that changed it, and for `/` those of all. A merge stands
at the paths in which it differs from all of its parents, as `git log -c` tells. They stand in rows of the archive's
tables: the first of a path says how many there are, with the oldest ones, and the others have the next ones, some each.
So a page costs a few look-ups however long the history is. storage/importing/path_index.py makes the rows.
"""

import struct
from collections.abc import Iterator, Sequence
from hashlib import sha1
from typing import NamedTuple

from storage.base.ids import ObjectId
from storage.lookup.archive import Archive, Row, RowKind

MOST = 1000
"""Commits that are looked up at once."""
_IN_FIRST, _IN_ROW = 6, 7
_FIRST = struct.Struct(f">I{_IN_FIRST}I")
_MORE = struct.Struct(f">{_IN_ROW}I")

COMMITS: RowKind[ObjectId] = RowKind("imported", bytes, lambda value: ObjectId(value[:20]))  # by its number
CHANGES: RowKind[bytes] = RowKind("imported-path", bytes, bytes)  # of a path, by the number of the row


class Change(NamedTuple):
    """A commit that changed a path."""

    position: int  # among those that did, from 0 for the oldest
    commit: ObjectId


def digest_of(path: bytes) -> bytes:
    """Return by what rows find a path; a directory's ends with a slash."""
    return sha1(path, usedforsecurity=False).digest()


def rows_of_path(digest: bytes, commits: Sequence[int]) -> Iterator[Row]:
    """Yield the rows that tell the numbers of the commits that changed a path, oldest first."""
    first = list(commits[:_IN_FIRST])
    yield CHANGES.row(_name(digest, 0), _FIRST.pack(len(commits), *first, *[0] * (_IN_FIRST - len(first))))
    for number, at in enumerate(range(_IN_FIRST, len(commits), _IN_ROW), 1):
        some = list(commits[at : at + _IN_ROW])
        yield CHANGES.row(_name(digest, number), _MORE.pack(*some, *[0] * (_IN_ROW - len(some))))


def imported_commits_of(
    archive: Archive, path: bytes, before: int | None, limit: int, *, since: int = 0
) -> list[Change]:
    """Return the imported commits that changed a path, newest first, of those at positions below `before`.

    At most `limit` of them, and MOST. A directory's path ends with a slash; `/` is everything. `since` is the entry of
    the import where somebody knows it: a view that knows less by now is stale. Costs a look-up of the
    archive for the path, one for the rows of the page, and one for its commits, all of them together. Raises
    Unavailable.
    """
    found = imported_numbers_of(archive, path, before, limit, since=since)
    commits = archive.look_up(COMMITS, list(dict.fromkeys(str(number) for _, number in found)), since)
    return [Change(position, commits[str(number)]) for position, number in found]


def imported_numbers_of(
    archive: Archive, path: bytes, before: int | None, limit: int, *, since: int = 0
) -> list[tuple[int, int]]:
    """Return positions and numbers of commits as `imported_commits_of` does commits. Raises Unavailable."""
    digest = digest_of(path)
    first = archive.look_up(CHANGES, [_name(digest, 0)], since).get(_name(digest, 0))
    if first is None:
        return []
    count, *numbers = _FIRST.unpack_from(first)
    end = count if before is None else min(before, count)
    start = max(0, end - min(limit, MOST))
    numbers = numbers[:count]
    rows = range(max(1, _row_of(start)), _row_of(end - 1) + 1) if end > start else range(0)
    found = archive.look_up(CHANGES, [_name(digest, row) for row in rows], since)
    by_position = dict(enumerate(numbers))
    for row in rows:
        at = _IN_FIRST + (row - 1) * _IN_ROW
        by_position |= enumerate(_MORE.unpack_from(found[_name(digest, row)]), at)
    return [(position, by_position[position]) for position in range(end - 1, start - 1, -1)]


def count_of_path(archive: Archive, path: bytes) -> int:
    """Return how many imported commits changed a path. Raises Unavailable."""
    name = _name(digest_of(path), 0)
    first = archive.look_up(CHANGES, [name]).get(name)
    return _FIRST.unpack_from(first)[0] if first is not None else 0


def position_up_to(archive: Archive, path: bytes, number: int) -> int:
    """Return how many of the commits that changed a path have this number or a lower one: that of the page behind it.

    Costs a look-up for each halving of their count. Raises Unavailable.
    """
    low, high = 0, count_of_path(archive, path)
    if path == b"/":
        return min(high, number + 1)  # it has them all
    while low < high:
        middle = (low + high) // 2
        [(_, found)] = imported_numbers_of(archive, path, middle + 1, 1)
        if found <= number:
            low = middle + 1
        else:
            high = middle
    return low


def _row_of(position: int) -> int:
    return 0 if position < _IN_FIRST else 1 + (position - _IN_FIRST) // _IN_ROW


def _name(digest: bytes, row: int) -> str:
    return f"{row}:{digest.hex()}"
