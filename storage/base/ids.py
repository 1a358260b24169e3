"""The kinds of ids, so that a type checker tells one from another."""

import re
import secrets
import time
from typing import NewType

from ulid import ULID

ObjectId = NewType("ObjectId", bytes)
"""A Git object's id: 20 raw bytes. Hexadecimal only in JSON."""

ChangesetId = NewType("ChangesetId", str)
"""A ULID: 26 characters, ordered by the time of submission."""

SliceId = NewType("SliceId", str)
"""A ULID; a slice made again under an old name has another."""

PackId = NewType("PackId", str)
"""A pack's name in the bucket: `inbox/<ulid>-<count>` or `packs/<ulid>`, without the repository and the suffix."""

Seq = NewType("Seq", int)
"""The position of an entry in the log, from 1."""


def oid_of(text: str) -> ObjectId:
    """Return the id that hexadecimal text names. Raises ValueError."""
    return ObjectId(bytes.fromhex(text))


_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_SUBMISSION_PACK = re.compile(rf"(inbox/({_ULID.pattern})-([1-9][0-9]{{0,4}}))\.pack")
_MAX_IN_PACK = 0xFFFF  # an object's location has two bytes for the count (storage/view/view.py)


def new_ulid() -> str:
    """Return a new ULID; of the functions for ids, only this one uses a clock and randomness.

    Its 80 random bits are new each time: python-ulid's own ULID() adds 1 within a millisecond, and could return an id
    from the range of consecutive ids of a submission pack of the same millisecond. The first random bit is 0, so that
    consecutive ids never carry into the time.
    """
    milliseconds = time.time_ns() // 1_000_000
    return _spelled(milliseconds << 80 | secrets.randbits(79))


_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TO_INT = str.maketrans(_DIGITS, "0123456789abcdefghijklmnopqrstuv")  # int() knows base 32 with another alphabet
_PAIRS = [a + b for a in _DIGITS for b in _DIGITS]
_SHIFTS = range(120, -10, -10)  # of each pair's bits in the number that a ULID is
_LOW = 4  # digits that counting on changes, as a rule
_LAST = "Z" * 12  # the other random digits of ids that might be counted on into the next millisecond


def _spelled(number: int) -> str:
    """Return the text of a ULID; str(ULID) takes eight times as long."""
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def bytes_of(ulid: str) -> bytes:
    """Return a ULID's 16 bytes; ULID.from_str takes ten times as long."""
    return int(ulid.translate(_TO_INT), 32).to_bytes(16, "big")


def text_of(raw: bytes) -> str:
    """Return the text of a ULID's 16 bytes."""
    return _spelled(int.from_bytes(raw, "big"))


def is_ulid(text: str) -> bool:
    """Tell whether `text` is a ULID in its canonical spelling."""
    return _ULID.fullmatch(text) is not None


def consecutive(first: str, count: int) -> list[ChangesetId]:
    """Return `count` ULIDs, `first` and those that follow it.

    A submission pack's changesets have consecutive ids and the pack is named by the first and their count, so that a
    listing of the inbox gives the id of every changeset in it without opening a pack.
    """
    low = int(first[-_LOW:].translate(_TO_INT), 32)
    if low + count > 32**_LOW:
        start = int(ULID.from_str(first))
        return [ChangesetId(str(ULID.from_int(start + i))) for i in range(count)]
    # Recovery asks for every id of the inbox, and ULID takes ten times as long.
    high = first[:-_LOW]
    return [ChangesetId(f"{high}{_PAIRS[n >> 10]}{_PAIRS[n & 1023]}") for n in range(low, low + count)]


def ulid_seconds(text: str) -> float:
    """Return the time in a ULID, in seconds since the epoch."""
    return ULID.from_str(text).milliseconds / 1000


def inbox_pack(first: str, count: int) -> PackId:
    """Name the submission pack whose changesets have `count` consecutive ids from `first`."""
    return PackId(f"inbox/{first}-{count}")


def submission_pack(name: str) -> PackId | None:
    """Return the submission pack that a file in the bucket is, None where it is something else."""
    match = _SUBMISSION_PACK.fullmatch(name)
    if match is None or int(match[3]) > _MAX_IN_PACK or match[2].endswith(_LAST, 0, -_LOW):
        return None
    return PackId(match[1])


def made_at(pack: PackId) -> float:
    """Return the time in a submission pack's name, in seconds since 1970: the time of all its changesets' ids."""
    return ulid_seconds(pack.removeprefix("inbox/").partition("-")[0])


def changesets_of(pack: PackId) -> list[ChangesetId]:
    """Return the ids of the changesets in a submission pack, from its name alone."""
    first, _, count = pack.removeprefix("inbox/").partition("-")
    return consecutive(first, int(count))
