"""Rows of the archive's tables for a whole history: gathered on the disk by their keys, then made into tables.

Each table has the rows whose keys have some leading bits in common, as the tables of compactions have them when they
have been merged often enough (storage/lookup/tables.py); a part of the rows is in memory at a time.
"""

from collections.abc import Iterator
from pathlib import Path

from storage.lookup.tables import CUT_BITS, KEY_BYTES, ROW_BYTES, VALUE_BYTES, encode_part, prefix_of

LEVEL = 32
"""The level of an import's tables: older than all that compactions make, and never merged with them."""
_ROWS = 3 << 14  # of a table, about; fewer than MAX_ROWS, since keys are not quite evenly distributed
_FILES = 256
_BUFFERED = 32 << 10


class RowSpool:
    """Rows in files, by the first byte of their keys."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._buffers = [bytearray() for _ in range(_FILES)]
        self.rows = 0

    def add(self, key: bytes, value: bytes) -> None:
        """Take a row; there must be one for each key."""
        buffer = self._buffers[key[0]]
        buffer += key
        buffer += value.ljust(VALUE_BYTES, b"\0")
        self.rows += 1
        if len(buffer) >= _BUFFERED:
            self._flush(key[0])

    def _flush(self, number: int) -> None:
        with (self._folder / f"{number:02x}").open("ab") as file:
            file.write(self._buffers[number])
        self._buffers[number].clear()

    def tables(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield all rows as tables: the bits that their keys have in common, these bits, and the table's bytes."""
        bits = 0
        while self.rows >> bits > _ROWS:
            bits += CUT_BITS
        together = _FILES >> min(bits, 8)
        for first in range(0, _FILES, together):
            rows = sorted(row for number in range(first, first + together) for row in self._read(number))
            yield from _cut(rows, bits)

    def _read(self, number: int) -> Iterator[bytes]:
        self._flush(number)
        data = (self._folder / f"{number:02x}").read_bytes()
        return (data[at : at + ROW_BYTES] for at in range(0, len(data), ROW_BYTES))


def _cut(rows: list[bytes], bits: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield sorted rows as tables of those whose keys have `bits` leading bits in common."""
    start = 0
    while start < len(rows):
        prefix, end = prefix_of(rows[start][:KEY_BYTES], bits) if bits else 0, start
        while end < len(rows) and (not bits or prefix_of(rows[end], bits) == prefix):
            end += 1
        yield bits, prefix, encode_part(b"".join(rows[start:end]), bits)
        start = end
