"""The contents that a diff or a conflict shows, read in groups, and the reasons why one is not shown."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from app.service.services import services
from storage.base.ids import ObjectId
from storage.git.objects import SUBMODULE_MODE, Version
from storage.git.packs import Location
from storage.log.manifest import Changeset
from storage.lookup.object_store import ObjectMissing

# Contents are read at once that have so many bytes together, unless one alone has more.
_TOGETHER_BYTES = 256 << 10

T = TypeVar("T")


class Omitted(StrEnum):
    """Why the text of a version is not shown."""

    NOT_STORED = "not-stored"  # a base by versions may name what was never stored here
    TOO_LARGE = "too-large"  # it is above max_shown_bytes
    BINARY = "binary"


class Contents:
    """The contents that are shown: stored ones, and those that a submission's pack alone has."""

    def __init__(self, submission: Changeset | None = None) -> None:
        self._repo = services().repo
        self._most = services().settings.max_shown_bytes
        self.locations = {
            change.oid: Location(submission.pack, change.range)
            for change in (submission.changes if submission else ())
            if submission and change.oid and change.range
        }
        self._large: set[ObjectId] = set()
        self._texts: dict[ObjectId, bytes | Omitted] = {}

    def groups(self, wanted: Sequence[T], versions: Callable[[T], Iterable[Any]]) -> Iterator[list[T]]:
        """Yield these in order, in groups whose `versions` are read together, in place of those before."""
        oids = [
            [version.oid for version in versions(item) if version and version.mode != SUBMODULE_MODE] for item in wanted
        ]
        sizes = self._sizes(list(dict.fromkeys(oid for some in oids for oid in some)))
        group: list[T] = []
        reading: dict[ObjectId, int] = {}
        for item, some in zip(wanted, oids, strict=True):
            more = {oid: sizes[oid] for oid in some if oid in sizes}
            if group and sum((reading | more).values()) > _TOGETHER_BYTES:
                self._read(reading)
                yield group
                group, reading = [], {}
            group.append(item)
            reading |= more
        self._read(reading)
        yield group

    def _sizes(self, oids: Sequence[ObjectId]) -> dict[ObjectId, int]:
        """Return how many bytes reading each would take, 0 of one that is too large: without those not stored."""
        stored = zip(oids, self._repo.objects.locate(oids) if oids else [], strict=True)
        locations = {oid: location or self.locations.get(oid) for oid, location in stored}
        self._large = {oid for oid, at in locations.items() if at is not None and at.range.size > self._most}
        return {oid: 0 if oid in self._large else at.range.size for oid, at in locations.items() if at is not None}

    def _read(self, oids: Iterable[ObjectId]) -> None:
        small = [oid for oid in oids if oid not in self._large]
        texts = self._repo.bucket.map_concurrently(self._blob, small)
        self._texts = dict.fromkeys(self._large, Omitted.TOO_LARGE)
        self._texts.update(zip(small, texts, strict=True))

    def of(self, version: Version) -> bytes | Omitted:
        """Return what a diff compares of a version, or why it is not shown."""
        if version.mode == SUBMODULE_MODE:
            return b"Subproject commit %s\n" % version.oid.hex().encode()
        return self._texts.get(version.oid, Omitted.NOT_STORED)

    def _blob(self, oid: ObjectId) -> bytes | Omitted:
        try:
            content = self._repo.objects.blob(oid, self.locations.get(oid))
        except ObjectMissing:
            return Omitted.NOT_STORED
        return content if len(content) <= self._most else Omitted.TOO_LARGE
