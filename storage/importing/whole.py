"""What an import's tip has, stored whole beside the history: it is read by one range, as everything that comes later.

Git's packs have most of it as deltas. Of those that the tip has, a copy is written into packs of their own, and the
archive's tables name the copy.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from storage.base.ids import ObjectId
from storage.git.imported.git_objects import GitObjects
from storage.git.imported.git_output import listed
from storage.git.objects import Kind
from storage.git.packs import PackWriter
from storage.git.run_git import Git

_ID_BYTES = 20
_LEVELS = {Kind.BLOB: 1}  # as storage/log/store_pack.py has them


class TipObjects:
    """The ids of a commit, and of its trees and files: 20 bytes each in memory."""

    def __init__(self, git: Git, tip: str) -> None:
        lines = listed(git, "rev-list", "--objects", "--no-object-names", "--no-walk", tip)
        self._ids = b"".join(sorted(bytes.fromhex(line.decode()) for line in lines))

    def __contains__(self, oid: ObjectId) -> bool:
        at = bisect_left(_Ids(self._ids), oid) * _ID_BYTES
        return self._ids[at : at + _ID_BYTES] == oid


class _Ids:
    """Ids in order, behind one another, as a sequence."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data) // _ID_BYTES

    def __getitem__(self, at: int) -> bytes:
        return self._data[at * _ID_BYTES : (at + 1) * _ID_BYTES]


class Copies:
    """Reads objects from a repository, one after the other, into packs in which they stand whole."""

    def __init__(self, git: Git, most: int) -> None:
        self._objects = GitObjects(git)
        self._most = most
        self._writer = PackWriter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._objects.__exit__(kind, error, trace)

    def take(self, oids: Iterable[ObjectId]) -> Iterator[PackWriter]:
        """Copy objects; yield packs that have as much as they may. Raises CorruptObject."""
        for oid in oids:
            kind, data = self._objects.read(oid)
            if self._writer and self._writer.size + len(data) > self._most:
                yield from self.rest()
            self._writer.add(kind, data, oid, _LEVELS.get(kind, 0))

    def rest(self) -> Iterator[PackWriter]:
        """Yield the last pack, if there is anything in it."""
        if self._writer:
            full, self._writer = self._writer, PackWriter()
            yield full
