"""The contents of many files, read together: all objects that are near one another in a pack by one request.

What is kept is compressed, as packs have it, and is inflated and checked a few files at a time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from app.downloads.files import File
from storage.backends import deadline
from storage.backends.turns import breathe
from storage.base.batched import batched, batched_by_size
from storage.base.ids import ObjectId
from storage.git.objects import SUBMODULE_MODE, CorruptObject, Kind, object_id
from storage.git.packs import Location, decode, decode_head
from storage.lookup.object_store import ObjectMissing
from storage.repository import Repository

_FILES = 4096  # whose contents are located at once


class Stored(NamedTuple):
    """A file with its content as a pack has it; nothing of a submodule."""

    file: File
    data: bytes

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return decode_head(self.data)[1] if self.data else 0

    def content(self) -> bytes:
        """Return the content, checked; a submodule has none. Raises CorruptObject."""
        if not self.data:
            return b""
        kind, content = decode(self.data)
        if kind != Kind.BLOB or object_id(kind, content) != self.file.oid:
            raise CorruptObject(f"the bytes stored as {self.file.oid.hex()} are another object")
        return content


def groups(repo: Repository, files: Iterable[File], most: int) -> Iterator[list[Stored]]:
    """Yield files with their contents, those together that take `most` bytes compressed; one that takes more is alone.

    Raises ObjectMissing where a content is not stored, and Unavailable.
    """
    for some in batched(files, _FILES):
        oids = list(dict.fromkeys(file.oid for file in some if file.mode != SUBMODULE_MODE))
        located = repo.confirmed(partial(_locate, repo, oids))
        breathe()
        for group in batched_by_size(some, partial(_length, located), most):
            wanted = {file.oid: located[file.oid] for file in group if file.mode != SUBMODULE_MODE}
            stored = repo.objects.whole_many(list(wanted.items()))
            breathe()
            yield [Stored(file, stored.get(file.oid, b"")) for file in group]


def _locate(repo: Repository, oids: Sequence[ObjectId]) -> dict[ObjectId, Location]:
    """Return where objects are. Raises ObjectMissing."""
    located = {}
    for oid, location in zip(oids, repo.objects.locate(oids) if oids else [], strict=True):
        if location is None:
            raise ObjectMissing(oid.hex())
        located[oid] = location
    return located


def _length(located: Mapping[ObjectId, Location], file: File) -> int:
    return 0 if file.mode == SUBMODULE_MODE else located[file.oid].weight


def read_ahead(repo: Repository, files: Iterable[File]) -> Iterator[list[Stored]]:
    """Yield what `groups` does, and read the next group while the caller has the one before.

    The two have `archive_ahead_bytes` together.
    """
    following = groups(repo, files, repo.settings.archive_ahead_bytes // 2)

    def read() -> list[Stored] | None:
        with deadline.budget("request_budget", repo.settings.request_budget):
            return next(following, None)

    pool = ThreadPoolExecutor(1, "archive")
    try:
        ahead = pool.submit(read)
        while (group := ahead.result()) is not None:
            ahead = pool.submit(read)
            yield group
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
