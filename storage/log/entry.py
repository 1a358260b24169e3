"""The format of the log's entries. Pure.

An entry is JSON in a canonical form (sorted keys, no spaces), so that equal entries are equal bytes. Every number in an
entry is a value, never an increment, so that an interrupted `apply` can be repeated (invariant 4). storage/view/rows.py
turns an entry into the rows of the view.

Format 1. Readers must read every format that was ever written; tests/testdata/entries holds one of each.
"""

from __future__ import annotations

import json
from enum import StrEnum
from hashlib import sha256
from typing import Any, NamedTuple

from storage.base.errors import Corrupt

FORMAT = 1
NO_HASH = "0" * 64
# A changeset's place in the log is seq * SLOTS + its index: one number that orders all changesets.
SLOTS = 1 << 13

Json = dict[str, Any]


class Status(StrEnum):
    """Where a changeset stands. The comments are the transitions; there are no others."""

    HELD = "held"  # -> queued | abandoned
    QUEUED = "queued"  # -> committed | conflicted | rejected | abandoned
    COMMITTED = "committed"  # -> landed
    LANDED = "landed"  # final: a global commit merged it
    CONFLICTED = "conflicted"  # final: a path that it changes moved since its base
    REJECTED = "rejected"  # final: could never be committed; the reason says why
    ABANDONED = "abandoned"  # final: taken back before it was committed


class EntryKind(StrEnum):
    """What an entry records."""

    GENESIS = "genesis"
    SLICES = "slices"
    COMMITS = "commits"
    MERGE = "merge"
    RELEASE = "release"
    CLOSE = "close"
    CONDEMN = "condemn"
    COMPACT = "compact"


class CorruptEntry(Corrupt):
    """An entry is not the one that its position in the log requires."""


def encode(entry: Json) -> bytes:
    """Return the bytes of an entry."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode(data: bytes) -> Json:
    """Read an entry. Raises CorruptEntry where it is not JSON or of a format that this version does not know."""
    try:
        entry = json.loads(data)
    except ValueError as error:
        raise CorruptEntry("an entry is not JSON") from error
    if not isinstance(entry, dict) or entry.get("format") != FORMAT:
        raise CorruptEntry("an entry has a format that this version of Sluice does not know")
    return entry


def digest(data: bytes) -> str:
    """Return the hash by which the next entry names this one."""
    return sha256(data).hexdigest()


def log_position(seq: int, index: int) -> int:
    """Return a changeset's place in the log as one number."""
    return seq * SLOTS + index


"""Rows with these names grow with history: those of archived entries are forgotten. All others are present state."""

"""Rows with these names are forgotten later than the others."""


def outcome_of(decided: Json, seq: int, index: int) -> Json:
    """Return a changeset's outcome as the view has it, from its record in entry `seq`."""
    outcome = {name: value for name, value in decided.items() if name not in _NOT_IN_OUTCOMES}
    return outcome | {"seq": seq, "index": index}


# What an outcome leaves to the entry: its size follows the changeset's.
_NOT_IN_OUTCOMES = {"changes", "closes", "id", "merged"}


def merge_row(entry: Json) -> Json:
    """Return a global commit as the list of global commits shows it, from the entry that made it; the first as well."""
    if entry["kind"] == EntryKind.GENESIS:
        entry = entry | {"changesets": 0, "parents": [], "first": entry["seq"], "through": entry["seq"]}
    names = ("commit", "tree", "seq", "first", "through", "changesets", "parents")
    return {name: entry[name] for name in names}


class TableRow(NamedTuple):
    """A table as the log and the view name it."""

    name: str  # in the bucket, without the suffix
    level: int  # how often it has been merged
    bits: int  # so many leading bits all of its keys have in common
    prefix: int  # these bits
