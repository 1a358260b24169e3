"""What a blame has found so far, and how much more it may look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from storage.base.errors import Refused
from storage.base.ids import ObjectId
from storage.operations.versions.line_blame import Lines
from storage.operations.versions.path_history import Touch


class NoLines(Refused):
    """What stands at the path has no lines of which one could tell who wrote them; the text says why."""


class Limit(StrEnum):
    """Why a blame has not come to the beginning of its file."""

    VERSIONS = "blame_versions"
    BYTES = "blame_bytes"
    ENTRIES = "history_age"  # the log had to be read for more than one call reads
    COMMITS = "blame_commits"  # too many imported commits lie between the file's versions


@dataclass(frozen=True, slots=True, order=True)
class Older:
    """Lines that are older than the versions looked at; their source are lines of the file as it stands at a commit."""

    lines: Lines
    before: ObjectId  # the commit at which these are to be asked for


@dataclass(slots=True)
class Found:
    """What each version looked at has brought."""

    most_versions: int
    most_bytes: int
    read: int  # bytes
    lines: list[tuple[Lines, int]] = field(default_factory=list)  # with the number of what they came with, in `seen`
    seen: list[Touch] = field(default_factory=list)
    older: list[Older] = field(default_factory=list)
    limit: Limit | None = None  # why there are any

    def has_room(self, touch: Touch, size: int) -> bool:
        """Tell whether a version may be compared with others of so many bytes; sets the limit where not.

        Raises NoLines where it is the first one: to ask again would be in vain.
        """
        if len(self.seen) < self.most_versions and self.read + size <= self.most_bytes:
            return True
        if not self.seen:
            raise NoLines(f"what is before {touch.oid.hex()} has {size} bytes; at most {self.most_bytes} are compared")
        self.limit = Limit.VERSIONS if len(self.seen) >= self.most_versions else Limit.BYTES
        return False

    def take(self, touch: Touch, kept: Iterable[Lines], size: int) -> None:
        """Take the lines that came with a version, which was compared with so many bytes."""
        self.lines += [(lines, len(self.seen)) for lines in kept]
        self.seen.append(touch)
        self.read += size
