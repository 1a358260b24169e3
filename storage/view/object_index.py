"""Rows of the view's index of objects, gathered from many chunks of segments and ordered by their Redis hashes.

A row is an object's id and its location. Entries have them in any order, and there are 65,536 hashes: one call for each
row would be most of a load's cost to Redis. Ordered, all rows of a hash are set by one call.
"""

from collections.abc import Iterator

import msgpack

from storage.base.batched import batched

ID_BYTES, ROW_BYTES = 20, 50
_KEY = "at:"
# Redis does nothing else while it takes so many of them.
_CHUNK_ROWS = 20_000


class IndexRows:
    """The rows that chunks would set and forget, until they are taken out."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        self._forgotten: dict[bytes, None] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._rows) + len(self._forgotten)

    def gather(self, chunk: bytes) -> list[bytes]:
        """Take the rows out of a chunk; return what else it has as a chunk, none where it has nothing."""
        rest = []
        for command in msgpack.unpackb(chunk, raw=True):
            match command[0]:
                case b"INDEX":
                    rows = command[2]
                    for at in range(0, len(rows), ROW_BYTES):
                        self._rows[rows[at : at + ID_BYTES]] = rows[at : at + ROW_BYTES]
                case b"UNINDEX":
                    for at in range(0, len(command[2]), ID_BYTES):
                        oid = command[2][at : at + ID_BYTES]
                        self._rows.pop(oid, None)
                        self._forgotten[oid] = None
                case _:
                    rest.append(command)
        return [msgpack.packb(rest, use_bin_type=False)] if rest else []

    def take(self) -> Iterator[bytes]:
        """Yield chunks that do what was gathered, which is none then."""
        forgotten, rows = sorted(self._forgotten), sorted(self._rows.values())
        self._forgotten, self._rows = {}, {}
        # An object that was forgotten may have come again behind that, not before.
        yield from _chunks("UNINDEX", forgotten)
        yield from _chunks("INDEX", rows)


def _chunks(command: str, items: list[bytes]) -> Iterator[bytes]:
    for some in batched(items, _CHUNK_ROWS):
        yield msgpack.packb([[command, _KEY, b"".join(some)]], use_bin_type=False)
