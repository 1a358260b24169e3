"""The log: totally ordered, immutable entries in the bucket, each created only if its place is free.

That create is the linearization point of everything that Sluice does (invariant 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from storage.bucket import Bucket, Missing
from storage.entries import NO_HASH, CorruptEntry, Json, decode, digest
from storage.ids import Seq

_READ_AHEAD = 32


class Log:
    """The entries of one repository."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def append(self, seq: int, data: bytes) -> bool:
        """Make `data` entry `seq`; tell whether that is what the log now holds there.

        After a time-out the place may be taken by this very call's first try, so what is there is compared: entries
        of two writers never are the same bytes, since each names its writer. Raises BucketError: then nothing is known.
        """
        if self._bucket.create(name_of(seq), data):
            return True
        return self._bucket.get(name_of(seq)) == data

    def read(self, seq: int) -> bytes | None:
        """Return the bytes of an entry, None where the log does not reach that far. Raises BucketError."""
        try:
            return self._bucket.get(name_of(seq))
        except Missing:
            return None

    def read_many(self, seqs: Iterable[Seq]) -> list[bytes | None]:
        """Return the bytes of several entries, read at once. Raises BucketError."""
        return self._bucket.get_many(name_of(seq) for seq in seqs)

    def read_from(self, seq: int, width: int = _READ_AHEAD) -> Iterator[tuple[Seq, bytes]]:
        """Yield the entries from `seq` to the end of the log, `width` read at once. Raises BucketError.

        Begins with one alone: mostly there is none, or one.
        """
        step = 1
        while True:
            for data in self._bucket.get_many(name_of(seq + i) for i in range(step)):
                if data is None:
                    return
                yield Seq(seq), data
                seq += 1
            step = min(width, step * 4)


def name_of(seq: int) -> str:
    """Return the name of an entry in the bucket; zero-padded, so that a listing is in order."""
    return f"log/{seq:012d}.json"


def check(seq: int, data: bytes, previous: str) -> Json:
    """Return an entry that must stand at `seq` behind the entry with the hash `previous`.

    Raises CorruptEntry where it says otherwise.
    """
    entry = decode(data)
    if entry.get("seq") != seq or entry.get("previous") != previous:
        raise CorruptEntry(f"entry {seq} does not follow the entry before it")
    return entry


def follow(entries: Iterator[tuple[Seq, bytes]], previous: str = NO_HASH) -> Iterator[tuple[Json, str]]:
    """Yield entries with their hashes, each checked against the one before it.

    Raises CorruptEntry at the first that does not fit.
    """
    for seq, data in entries:
        entry = check(seq, data, previous)
        previous = digest(data)
        yield entry, previous
