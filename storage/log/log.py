"""The log: totally ordered, immutable entries in the bucket, each created only if its position is free.

That create is the linearization point of everything that Sluice does (invariant 3).
"""

from collections.abc import Iterable, Iterator

from storage.backends.bucket import Bucket, Missing
from storage.base.ids import Seq
from storage.log import entry_bundles
from storage.log.entry import NO_HASH, CorruptEntry, Entry, decode, digest
from storage.log.entry_bundles import CorruptRoll

_READ_AHEAD = 32
# A roll may have megabytes.
_ROLLS_AHEAD = 2
# So many entries are worth a look for their rolls.
_WORTH_ROLLS = 16


class Log:
    """The entries of one repository."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def append(self, seq: int, data: bytes) -> bool:
        """Make `data` entry `seq`; tell whether that is what the log now holds there.

        After a time-out the position may be taken by this very call's first try, so what is there is compared: entries
        of two writers never are the same bytes, since each names its writer. Raises BucketError: then nothing is known.
        """
        if self._bucket.create(name_of(seq), data).stored:
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

    def read_range(self, first: int, last: int) -> list[bytes | None]:
        """Return the bytes of entries, None behind the log's end; many come from copies. Raises BucketError."""
        copies: dict[int, bytes] = {}
        if last - first >= _WORTH_ROLLS:
            numbers = range(entry_bundles.number_of(first), entry_bundles.number_of(last) + 1)
            for number, entries in zip(numbers, self._read_rolls(numbers), strict=True):
                copies |= dict(enumerate(entries or (), entry_bundles.first_of(number)))
        missing = [Seq(seq) for seq in range(first, last + 1) if seq not in copies]
        read = dict(zip(missing, self.read_many(missing), strict=True))
        return [copies[seq] if seq in copies else read[Seq(seq)] for seq in range(first, last + 1)]

    def read_from(self, seq: int, width: int = _READ_AHEAD, copies: bool = True) -> Iterator[tuple[Seq, bytes]]:
        """Yield the entries from `seq` to the end of the log, `width` read at once. Raises BucketError.

        Begins with one alone: mostly there is none, or one. Who goes on for long is given copies, unless it looks for
        what has become of the entries themselves.
        """
        step = 1
        while True:
            if copies and step == width and seq == entry_bundles.first_of(entry_bundles.number_of(seq)):
                copies = False
                for entries in self._rolls_from(entry_bundles.number_of(seq)):
                    yield from ((Seq(position), data) for position, data in enumerate(entries, seq))
                    seq += len(entries)
            count = min(step, entry_bundles.RUN - (seq - 1) % entry_bundles.RUN) if copies else step
            for data in self._bucket.get_many(name_of(seq + i) for i in range(count)):
                if data is None:
                    return
                yield Seq(seq), data
                seq += 1
            step = min(width, step * 4)

    def _rolls_from(self, number: int) -> Iterator[list[bytes]]:
        """Yield the entries of rolls from one on, up to the first that is not there."""
        while True:
            for entries in self._read_rolls(range(number, number + _ROLLS_AHEAD)):
                if entries is None:
                    return
                yield entries
            number += _ROLLS_AHEAD

    def _read_rolls(self, numbers: Iterable[int]) -> list[list[bytes] | None]:
        return [
            _entries_of(data) for data in self._bucket.get_many(entry_bundles.name_of(number) for number in numbers)
        ]


def _entries_of(data: bytes | None) -> list[bytes] | None:
    try:
        return entry_bundles.decode(data) if data is not None else None
    except CorruptRoll:
        return None  # the entries themselves are there


def name_of(seq: int) -> str:
    """Return the name of an entry in the bucket; zero-padded, so that a listing is in order."""
    return f"log/{seq:012d}.json"


def check(seq: int, data: bytes, previous: str) -> Entry:
    """Return the entry for `seq` behind the one with the hash `previous`. Raises CorruptEntry where it is none."""
    entry = decode(data)
    if entry.seq != seq or entry.previous != previous:
        raise CorruptEntry(f"entry {seq} does not follow the entry before it")
    return entry


def follow(entries: Iterator[tuple[Seq, bytes]], previous: str = NO_HASH) -> Iterator[tuple[Entry, str]]:
    """Yield entries with their hashes, each checked against the one before. Raises CorruptEntry at a misfit."""
    for seq, data in entries:
        entry = check(seq, data, previous)
        previous = digest(data)
        yield entry, previous
