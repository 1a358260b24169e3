"""The newest entries of the log, read once for all stores of a process: many slices follow the same few."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice

from cachetools import LRUCache

from storage.log.entry import Entry, digest
from storage.log.log import Log, check

# Of entries in memory, which take about six times the bytes of their JSON.
_BYTES = 48 << 20
_DECODED = 6
# Who is farther behind reads for itself alone.
_FEW = 64


class RecentEntries:
    """The entries of one log. Safe for threads."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._cache: LRUCache[int, tuple[Entry, str, int]] = LRUCache(_BYTES, getsizeof=lambda item: item[2])

    def follow(self, first: int, last: int, previous: str) -> Iterator[tuple[Entry, str]]:
        """Yield entries with their hashes, each checked against the one before; fewer where the log ends earlier.

        `previous` is the hash of the entry before `first`. Raises CorruptEntry and BucketError.
        """
        seq = first
        while seq <= last:
            with self._lock:
                known = self._cache.get(seq)
            if known is None or known[0].previous != previous:
                break
            yield known[0], known[1]
            seq, previous = seq + 1, known[1]
        if seq > last:
            return
        keep = last - first < _FEW
        for _, data in islice(self._log.read_from(seq), last - seq + 1):
            entry, entry_hash = check(seq, data, previous), digest(data)
            if keep and _DECODED * len(data) < _BYTES:
                with self._lock:
                    self._cache[seq] = entry, entry_hash, _DECODED * len(data)
            yield entry, entry_hash
            seq, previous = seq + 1, entry_hash
