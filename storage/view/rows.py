"""The rows of the view that follow from an entry. Pure, and the only place that knows them (invariant 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from storage.log.entry import CorruptEntry, EntryKind, Json, Status, encode, log_position, merge_row, outcome_of


@dataclass(slots=True)
class Effects:
    """The rows that an entry sets in the view. Keys are relative to the view's epoch; see docs/architecture.md."""

    head: dict[str, str | int]
    removed_strings: list[str] = field(default_factory=list)
    removed_firsts: dict[str, str] = field(default_factory=dict)  # where they still have this value
    unindexed: bytes = b""  # ids of objects whose places are forgotten, 20 bytes each
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


LASTING = ("outcome:", "chain", "decided:", "batches", "merges", "merge_seqs")
"""What the keys of rows begin with that no later entry touches until they are archived."""
HISTORY = (*LASTING, "packs", "condemned", "closed", "at:")
"""What the keys of all rows begin with that go when their entry is archived."""
KEYS = ("key:",)
"""What the keys of rows begin with that are kept longer, for `key_age`."""


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
        changeset, status, place = decided["id"], decided["status"], log_position(seq, index)
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
    rows.unindexed = forgotten.objects
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
