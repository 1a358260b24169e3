"""The entries of the log: what they say, how they are written, and the view that follows from them. Pure.

An entry is JSON in one spelling (sorted keys, no spaces), so that equal entries are equal bytes. `effects` turns an
entry into the rows of the view; nothing else does (invariant 4). Every number in an entry is a value, never an
increment, so that half an `apply`, repeated, converges.

Format 1. Readers must read every format that was ever written; tests/testdata/entries holds one of each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from storage.base.ids import Seq

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


class CorruptEntry(Exception):
    """An entry is not what its place in the log requires."""


def encode(entry: Json) -> bytes:
    """Return the bytes of an entry."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def decode(data: bytes) -> Json:
    """Read an entry.

    Raises CorruptEntry where it is not JSON or of a format that this version does not know.
    """
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


@dataclass(frozen=True, slots=True)
class Head:
    """What the view knows of the log as a whole, after the entry `applied`."""

    applied: Seq  # the newest entry that the view includes
    hash: str  # its hash
    tip: str  # the newest commit of the chain
    tip_time: int  # its committer time, seconds
    root: str  # its tree
    main: str  # the newest global commit
    main_tree: str
    main_time: int
    main_seq: Seq  # the entry that made it
    through: Seq  # the last entry that it merged
    committed: int  # changesets committed so far
    merged: int  # changesets merged so far
    archived: Seq = Seq(0)  # what the entries up to this one made is forgotten, and stands in the archive
    keys_through: Seq = Seq(0)  # idempotency keys of the entries up to this one are forgotten
    mark: str = ""  # changesets up to this id are decided, but for those that the view has as undecided
    compacted: Seq = Seq(0)  # the last entry that compacted

    @property
    def pending(self) -> int:
        """Changesets that are committed and not yet merged."""
        return self.committed - self.merged


HEAD_FIELDS = tuple(Head.__dataclass_fields__)
_HEAD_NUMBERS = {name for name, kind in Head.__annotations__.items() if kind in {"Seq", "int"}}


def head_of(fields: dict[str, str]) -> Head:
    """Build a Head from the texts that Redis keeps."""
    return Head(**{name: int(value) if name in _HEAD_NUMBERS else value for name, value in fields.items()})  # type: ignore[arg-type]


def place_of(seq: int, index: int) -> int:
    """Return a changeset's place in the log as one number."""
    return seq * SLOTS + index


@dataclass(slots=True)
class Effects:
    """The rows that an entry sets in the view. Keys are relative to the view's epoch; see docs/architecture.md."""

    head: dict[str, str | int]
    removed_strings: list[str] = field(default_factory=list)
    removed_firsts: dict[str, str] = field(default_factory=dict)  # where they still have this value
    unplaced: bytes = b""  # ids of objects whose places are forgotten, 20 bytes each
    removed_fields: dict[str, list[str]] = field(default_factory=dict)  # of hashes; removals come before all else
    removed_members: dict[str, list[str | bytes]] = field(default_factory=dict)  # of sorted sets
    strings: dict[str, str] = field(default_factory=dict)
    # Strings that are set only where there is none. An idempotency key belongs to the first decided changeset, in log
    # order, that has it: what is decided later, for whatever reason, never takes it over.
    firsts: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    sorted_sets: dict[str, dict[str | bytes, int]] = field(default_factory=dict)

    def score(self, key: str, member: str | bytes, score: int) -> None:
        """Set a member of a sorted set."""
        self.sorted_sets.setdefault(key, {})[member] = score

    def score_all(self, key: str, members: Iterable[str], score: int) -> None:
        """Set members of a sorted set, if there are any."""
        for member in members:
            self.score(key, member, score)

    def remove(self, key: str, member: str) -> None:
        """Take a member out of a sorted set."""
        self.removed_members.setdefault(key, []).append(member)


HISTORY = ("outcome:", "chain", "decided:", "batches", "merges", "merge_seqs", "packs", "condemned", "closed", "at:")
"""Rows with these names grow with history: those of archived entries are forgotten. All others are present state."""

KEYS = ("key:",)
"""Rows with these names are forgotten later than the others."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a compaction has the view forget."""

    history: Sequence[tuple[Json, str]] = ()  # the entries that it archives, with their hashes
    keys: Sequence[tuple[Json, str]] = ()  # those whose idempotency keys go
    objects: bytes = b""  # ids of the objects that stand in its packs, 20 bytes each


NOTHING_FORGOTTEN = Forgotten()


def effects(entry: Json, entry_hash: str, forgotten: Forgotten = NOTHING_FORGOTTEN) -> Effects:
    """Return what `entry` sets in the view; of a compaction, with what it has the view forget."""
    head: dict[str, str | int] = {"applied": entry["seq"], "hash": entry_hash}
    rows = Effects(head)
    rows.score_all("packs", [pack for pack, _ in entry.get("packs", [])], entry["seq"])
    match entry["kind"]:
        case EntryKind.GENESIS:
            _genesis_effects(entry, rows)
        case EntryKind.SLICES:
            _slice_effects(entry, rows)
        case EntryKind.COMMITS:
            _commit_effects(entry, rows)
        case EntryKind.MERGE:
            head |= {"main": entry["commit"], "main_tree": entry["tree"], "main_time": entry["time"]}
            head |= {"main_seq": entry["seq"], "through": entry["through"], "merged": entry["merged"]}
            rows.score("merges", encode(merge_row(entry)).decode(), entry["seq"])
            rows.hashes["merge_seqs"] = {entry["commit"]: entry["seq"]}
        case EntryKind.RELEASE:
            rows.score_all("released", [released["id"] for released in entry["released"]], entry["seq"])
        case EntryKind.CONDEMN:
            rows.score_all("condemned", entry["condemned"], entry["seq"])
        case EntryKind.CLOSE:
            for closed in entry["closed"]:
                _close(closed, rows)
        case EntryKind.COMPACT:
            _compact_effects(entry, rows)
            _forget(forgotten, rows)
        case kind:
            raise CorruptEntry(f"an entry has the unknown kind {kind!r}")
    return rows


def _genesis_effects(entry: Json, rows: Effects) -> None:
    commit, tree, time, seq = entry["commit"], entry["tree"], entry["time"], entry["seq"]
    rows.head |= {"tip": commit, "tip_time": time, "root": tree, "main": commit, "main_tree": tree}
    rows.head |= {"main_time": time, "main_seq": seq, "through": seq, "committed": 0, "merged": 0}
    rows.score("merges", encode(merge_row(entry)).decode(), seq)
    rows.hashes["merge_seqs"] = {commit: seq}


def _slice_effects(entry: Json, rows: Effects) -> None:
    # A change takes the old definition back and makes the new one, under the same id.
    for definition in entry.get("undefine", []):
        slice_id, name = definition["id"], definition["name"]
        rows.removed_fields.setdefault("slices", []).append(slice_id)
        rows.removed_fields.setdefault("slice_ids", []).append(name)
        rows.remove("slice_order", slice_id)
        rows.remove("slice_names", name)
        for path in definition["paths"]:
            rows.remove("covers:" + path, slice_id)
    for definition in entry["define"]:
        slice_id, name = definition["id"], definition["name"]
        rows.hashes.setdefault("slices", {})[slice_id] = encode(definition).decode()
        rows.hashes.setdefault("slice_ids", {})[name] = slice_id
        rows.score("slice_order", slice_id, 0)
        rows.score("slice_names", name, 0)
        for path in definition["paths"]:
            rows.score("covers:" + path, slice_id, 0)


def _commit_effects(entry: Json, rows: Effects) -> None:
    seq = entry["seq"]
    rows.head |= {
        "tip": entry["tip"],
        "tip_time": entry["time"],
        "root": entry["root"],
        "committed": entry["committed"],
    }
    landed = 0
    for index, decided in enumerate(entry["decided"]):
        outcome = outcome_of(decided, seq, index)
        changeset, status, place = decided["id"], decided["status"], place_of(seq, index)
        rows.strings["outcome:" + changeset] = encode(outcome).decode()
        rows.score(f"decided:{decided['slice']}:{status}", changeset, place)
        if decided.get("key") and decided.get("reason") != "duplicate":
            rows.firsts.setdefault("key:" + decided["key"], f"{changeset} {decided['fingerprint']}")
        if status == Status.COMMITTED:
            rows.score("chain", changeset, place)
            landed += 1
        if status == Status.CONFLICTED:
            for key in _open_keys(decided["slice"], [conflict["path"] for conflict in decided["conflicts"]]):
                rows.score(key, changeset, place)
        rows.removed_fields.setdefault("undecided", []).append(changeset)
        if decided.get("held"):
            rows.remove("released", changeset)
        if "closes" in decided:
            _close(decided["closes"] | {"by": changeset}, rows)
    if landed:
        batch = {"count": landed, "seq": seq, "time": entry["time"], "tip": entry["tip"], "tree": entry["root"]}
        rows.score("batches", encode(batch).decode(), seq)


def _close(closed: Json, rows: Effects) -> None:
    """Take a conflicted changeset out of the open conflicts: `by` another that takes its place, or by hand."""
    for key in _open_keys(closed["slice"], closed["paths"]):
        rows.remove(key, closed["id"])
    rows.hashes.setdefault("closed", {})[closed["id"]] = closed["by"]


def _open_keys(slice_id: str, paths: Iterable[str]) -> list[str]:
    return ["open", f"open:{slice_id}", *("open_on:" + path for path in paths)]


def _compact_effects(entry: Json, rows: Effects) -> None:
    names = ("archived", "keys_through", "mark")
    rows.head |= {name: entry[name] for name in names} | {"compacted": entry["seq"]}
    rows.score_all("archives", [pack for pack, _ in entry["archives"]], entry["seq"])
    if entry["dropped"]:
        rows.removed_fields["tables"] = list(entry["dropped"])
    if entry["tables"]:
        rows.hashes["tables"] = {name: f"{level} {bits} {prefix}" for name, level, bits, prefix in entry["tables"]}
    for name in entry["deleted"]:
        rows.remove("retired", name)
    rows.score_all("retired", entry["retired"], entry["time"])
    if entry["undecided"]:
        rows.hashes["undecided"] = dict(entry["undecided"])


def _forget(forgotten: Forgotten, rows: Effects) -> None:
    """Take back what archived entries made, but for the present state."""
    rows.unplaced = forgotten.objects
    for old, old_hash in forgotten.history:
        made = effects(old, old_hash)
        rows.removed_strings += made.strings
        for key, members in made.sorted_sets.items():
            if key.startswith(HISTORY):
                rows.removed_members.setdefault(key, []).extend(members)
        for key, fields in made.hashes.items():
            if key.startswith(HISTORY):
                rows.removed_fields.setdefault(key, []).extend(fields)
    for old, old_hash in forgotten.keys:
        # Not from one that took it over when the first was forgotten.
        rows.removed_firsts |= effects(old, old_hash).firsts


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
