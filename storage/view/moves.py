"""Moves as the view has them: where files went, by the path that they left. Raises ViewAbsent and redis.RedisError."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from storage.base.ids import oid_of
from storage.git.paths import raw_path, recorded_path
from storage.log.records import Left
from storage.view.view import View


class MovedFrom(NamedTuple):
    """What the view knows of one path at one instant."""

    applied: int  # the last entry that it includes
    archived: int  # moves of the entries up to this one stand in the archive
    compacted: int  # the last entry that archived some
    rows: Sequence[Left]  # in log order


def moved_from(view: View, path: bytes, after: int, most: int) -> MovedFrom:
    """Return the first moves from a path behind the position `after`, in one call."""
    applied, archived, compacted, [rows] = view.scripts("moved", after, most, recorded_path(path))
    return MovedFrom(int(applied), int(archived), int(compacted), [_left(row) for row in rows])


def _left(row: bytes) -> Left:
    position, oid, to = row.split(b" ", 2)
    return Left(int(position), oid_of(oid.decode()), raw_path(to.decode()))
