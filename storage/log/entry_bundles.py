"""Entry bundles ("rolls" in the bucket): copies of RUN consecutive log entries in one object, for bulk readers. Pure.

A bundle's name follows from the numbers of its entries, so a reader knows the name of the bundle with an entry. It has
the entries' own bytes, so a reader that follows the chain of hashes has checked it. Bundles are derived data: they may
be deleted at any time, and the entries themselves remain.
"""

import json
import zlib
from collections.abc import Sequence
from hashlib import sha256

from isal import isal_zlib

from storage.base.errors import Corrupt

FORMAT = 1
FOLDER = f"rolls/{FORMAT}/"
RUN = 64
"""Entries in a roll: those from RUN * n + 1 to RUN * (n + 1) in the n-th."""

# ISA-L makes of entries at this level what zlib makes at its level 6, within a hundredth, in a tenth of the time.
_LEVEL = 1


class CorruptRoll(Corrupt):
    """Bytes are no entry bundle, or a damaged one."""


def number_of(seq: int) -> int:
    """Return the number of the roll that an entry belongs to."""
    return (seq - 1) // RUN


def first_of(number: int) -> int:
    """Return the first entry of a roll."""
    return number * RUN + 1


def name_of(number: int) -> str:
    """Return a roll's name in the bucket: it tells its first entry."""
    return f"{FOLDER}{first_of(number):012d}.roll"


def encode(entries: Sequence[bytes]) -> bytes:
    """Return the roll of RUN entries in order: a line of JSON, and the deflated entries behind it."""
    body = b"".join(entries)
    header = {"lengths": [len(entry) for entry in entries], "sha256": sha256(body).hexdigest()}
    return json.dumps(header).encode() + b"\n" + isal_zlib.compress(body, _LEVEL)


def decode(data: bytes) -> list[bytes]:
    """Return the entries of a roll. Raises CorruptRoll."""
    head, _, packed = data.partition(b"\n")
    try:
        header, body = json.loads(head), zlib.decompress(packed)
        lengths = header["lengths"]
        if len(lengths) != RUN or sum(lengths) != len(body) or sha256(body).hexdigest() != header["sha256"]:
            raise CorruptRoll("a roll is damaged")
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise CorruptRoll("a roll cannot be read") from error
    entries, at = [], 0
    for length in lengths:
        entries.append(body[at : at + length])
        at += length
    return entries
