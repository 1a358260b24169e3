"""Storing what an import makes, under names that follow from the contents: what is there already is not stored again.

A name is a ULID, as of every pack: the time at which it was first given, then 80 bits of a digest of the contents. An
import that goes on behind one that died finds the names by their digests, and compares nothing but these with what it
would store; a pack or table is one PUT, so it is there as a whole or not at all. Names that garbage collection has
tombstoned are not used again.
"""

import time
from collections.abc import Iterable, Mapping
from hashlib import sha256

from storage.base.ids import PackId, bytes_of, is_ulid, text_of
from storage.lookup.archive import PACK_FILES
from storage.repository import Repository

_FOLDER = "packs/"
_DIGEST = 10  # bytes
_TIME = 6


class Uploads:
    """The packs and tables of one import."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._there: dict[str, set[str]] = {}  # which files there are, by name
        for name in repo.bucket.list_keys(_FOLDER):
            stem, dot, suffix = name.removeprefix(_FOLDER).partition(".")
            if is_ulid(stem) and dot + suffix in PACK_FILES:
                self._there.setdefault(stem, set()).add(dot + suffix)
        condemned = repo.view.tombstoned_packs([PackId(_FOLDER + stem) for stem in self._there])
        self._names = {bytes_of(stem)[_TIME:]: stem for stem in self._there if PackId(_FOLDER + stem) not in condemned}
        self.stored = 0  # bytes, of this run
        self.names: list[PackId] = []

    def store(self, files: Mapping[str, bytes]) -> PackId:
        """Store the files of a pack or a table, given by suffix, as far as they are not there. Raises BucketError."""
        digest = _digest(files.values())
        stem = self._names.get(digest)
        if stem is None:
            milliseconds = time.time_ns() // 1_000_000
            stem = self._names[digest] = text_of(milliseconds.to_bytes(_TIME, "big") + digest)
        name = PackId(_FOLDER + stem)
        missing = [suffix for suffix in files if suffix not in self._there.get(stem, ())]
        self._repo.bucket.map_concurrently(
            lambda suffix: self._repo.bucket.put_verified(name + suffix, files[suffix]), missing
        )
        self.stored += sum(len(files[suffix]) for suffix in missing)
        self.names.append(name)
        return name


def _digest(parts: Iterable[bytes]) -> bytes:
    hasher = sha256()
    for part in parts:
        hasher.update(part)
    return hasher.digest()[:_DIGEST]
