"""The rows of the view that follow from an entry. Pure, and the only module that defines them (invariant 4)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec.json import Decoder

from storage.base.ids import ChangesetId, Seq, bytes_of, text_of
from storage.log.entry import (
    Access,
    Close,
    Commits,
    Compact,
    Condemn,
    Entry,
    Genesis,
    GlobalCommit,
    Import,
    Merge,
    Mirrors,
    Release,
    Slices,
    Tags,
    Webhooks,
    encode_record,
    log_position,
    outcome_in,
)
from storage.log.facts import digests
from storage.log.records import Closing, Record, Status


class Batch(Record, frozen=True, kw_only=True):
    """The commits of one entry, to be merged."""

    count: int
    seq: Seq
    time: int
    tip: str
    tree: str


decode_batch = Decoder(Batch).decode
"""Reads the commits of an entry as the view has them."""


@dataclass(slots=True)
class Effects:
    """The rows that an entry sets in the view. Keys are relative to the view's epoch; see docs/architecture.md."""

    head: dict[str, str | int]
    removed_strings: list[str] = field(default_factory=list)
    removed_firsts: dict[str, str] = field(default_factory=dict)  # where they still have this value
    unindexed: bytes = b""  # ids of objects whose locations are forgotten, 20 bytes each
    removed_fields: dict[str, list[str]] = field(default_factory=dict)  # of hashes; removals come before all else
    removed_members: dict[str, list[str | bytes]] = field(default_factory=dict)  # of sorted sets
    strings: dict[str, str] = field(default_factory=dict)
    # Strings that are set only where there is none. An idempotency key belongs to the first decided changeset, in log
    # order, that has it: what is decided later, for whatever reason, never takes it over.
    firsts: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, dict[str, str | int]] = field(default_factory=dict)
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


LASTING = ("outcome:", "chain", "decided:", "listed:", "moved:", "batches", "merges", "merge_seqs")
"""What the keys of rows begin with that no later entry touches until they are archived."""
HISTORY = (*LASTING, "packs", "condemned", "closed", "at:")
"""What the keys of all rows begin with that go when their entry is archived."""
KEYS = ("key:",)
"""What the keys of rows begin with that are kept longer, for `key_age`."""


LISTED_TOGETHER = 64
"""Changesets in one member of a `listed:` set at most."""
LISTED_BYTES = 18
"""Bytes that such a member has for each: its index in the entry (2), and its id as a number (16)."""
LISTED_HEAD = 11
"""Bytes at its beginning: the digest without its first two, and the number of the entry (5)."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a compaction has the view forget."""

    history: Sequence[tuple[Entry, str]] = ()  # the entries that it archives, with their hashes
    keys: Sequence[tuple[Entry, str]] = ()  # those whose idempotency keys go
    objects: bytes = b""  # ids of the objects that stand in its packs, 20 bytes each


NOTHING_FORGOTTEN = Forgotten()


def effects(entry: Entry, entry_hash: str, forgotten: Forgotten = NOTHING_FORGOTTEN) -> Effects:
    """Return what `entry` sets in the view; of a compaction, with what it has the view forget."""
    head: dict[str, str | int] = {"applied": entry.seq, "hash": entry_hash}
    rows = Effects(head)
    rows.score_all("packs", [pack for pack, _ in entry.packs], entry.seq)
    match entry:
        case Genesis():
            head |= {"tip": entry.commit, "tip_time": entry.time, "root": entry.tree}
            _global_effects(entry.global_commit, entry.time, rows)
            head |= {"committed": 0, "merged": 0}
        case Slices():
            _slice_effects(entry, rows)
        case Commits():
            _commit_effects(entry, rows)
            _published_effects(entry, rows)
        case Merge():
            _global_effects(entry.global_commit, entry.time, rows)
            head["merged"] = entry.merged
        case Compact():
            _compact_effects(entry, rows)
            _forget(forgotten, rows)
        case Import():
            _import_effects(entry, rows)
        case _:
            _other_effects(entry, rows)
    return rows


def _other_effects(entry: Entry, rows: Effects) -> None:
    match entry:
        case Access():
            _access_effects(entry, rows)
        case Webhooks():
            _webhook_effects(entry, rows)
        case Tags():
            for changed in entry.changed:
                set_tag(rows, changed.name, changed.id)
        case Mirrors():
            _mirror_effects(entry, rows)
        case Release():
            rows.score_all("released", [released.id for released in entry.released], entry.seq)
        case Condemn():
            rows.score_all("condemned", entry.condemned, entry.seq)
        case Close():
            for closed in entry.closed:
                _close(closed, closed.by or "", rows)


def _published_effects(entry: Commits, rows: Effects) -> None:
    if (published := entry.published) and (made := entry.global_commit):
        _global_effects(made, published.time, rows)
        rows.head["merged"] = published.merged


def _global_effects(made: GlobalCommit, time: int, rows: Effects) -> None:
    rows.head |= {"main": made.commit, "main_tree": made.tree, "main_time": time, "main_seq": made.seq}
    rows.head["through"] = made.through
    rows.score("merges", encode_record(made), made.seq)
    rows.hashes["merge_seqs"] = {made.commit: made.seq}


def _import_effects(entry: Import, rows: Effects) -> None:
    rows.head |= {"tip": entry.commit, "tip_time": entry.committed_at, "root": entry.tree, "compacted": entry.seq}
    _global_effects(entry.global_commit, entry.committed_at, rows)
    _archive_effects(entry, rows)
    for name, oid in entry.tags.items():
        set_tag(rows, name, oid)


def _archive_effects(entry: Import | Compact, rows: Effects) -> None:
    """Set the packs and tables that an entry adds to the archive."""
    rows.score_all("archives", [pack for pack, _ in entry.archives], entry.seq)
    if entry.tables:
        rows.hashes["tables"] = {name: f"{level} {bits} {prefix}" for name, level, bits, prefix in entry.tables}


def _access_effects(entry: Access, rows: Effects) -> None:
    rows.head["access"] = entry.seq
    for gone in entry.revoked:
        rows.removed_fields.setdefault("tokens", []).append(gone.hash)
        rows.removed_fields.setdefault("token_hashes", []).append(gone.id)
        rows.remove("token_order", gone.id)
    for token in entry.issued:
        rows.hashes.setdefault("tokens", {})[token.hash] = encode_record(token)
        rows.hashes.setdefault("token_hashes", {})[token.id] = token.hash
        rows.score("token_order", token.id, 0)
    if entry.policy:
        rows.strings["policy"] = encode_record(entry.policy)
        rows.head["policy"] = entry.policy.version


def _webhook_effects(entry: Webhooks, rows: Effects) -> None:
    for gone in entry.deleted:
        for key in ("webhooks", "webhook_cursors"):
            rows.removed_fields.setdefault(key, []).append(gone)
        rows.remove("webhook_order", gone)
    reached = {webhook.id: (entry.seq + 1, 0) for webhook in entry.created} | entry.reached
    for webhook in (*entry.created, *entry.changed):
        rows.hashes.setdefault("webhooks", {})[webhook.id] = encode_record(webhook)
    rows.score_all("webhook_order", [webhook.id for webhook in entry.created], 0)
    for webhook_id, (seq, sent) in reached.items():
        rows.hashes.setdefault("webhook_cursors", {})[webhook_id] = f"{seq} {sent}"


def _mirror_effects(entry: Mirrors, rows: Effects) -> None:
    if entry.deleted:
        rows.removed_fields["mirrors"] = list(entry.deleted)
    for mirror in (*entry.created, *entry.changed):
        rows.hashes.setdefault("mirrors", {})[mirror.name] = encode_record(mirror)


def set_tag(rows: Effects, name: str, oid: str | None) -> None:
    """Set a tag to an object's id (hex); None: it is deleted."""
    if oid is None:
        rows.removed_fields.setdefault("tags", []).append(name)
        rows.remove("tag_order", name)
    else:
        rows.hashes.setdefault("tags", {})[name] = oid
        rows.score("tag_order", name, 0)


def _slice_effects(entry: Slices, rows: Effects) -> None:
    # A change takes the old definition back and makes the new one, under the same id.
    for old in entry.undefine:
        rows.removed_fields.setdefault("slices", []).append(old.id)
        rows.removed_fields.setdefault("slice_ids", []).append(old.name)
        rows.remove("slice_order", old.id)
        rows.remove("slice_names", old.name)
        for path in old.paths:
            rows.remove("covers:" + path, old.id)
    for new in entry.define:
        rows.hashes.setdefault("slices", {})[new.id] = encode_record(new)
        rows.hashes.setdefault("slice_ids", {})[new.name] = new.id
        rows.score("slice_order", new.id, 0)
        rows.score("slice_names", new.name, 0)
        for path in new.paths:
            rows.score("covers:" + path, new.id, 0)


def _commit_effects(entry: Commits, rows: Effects) -> None:
    seq = entry.seq
    rows.head |= {"tip": entry.tip, "tip_time": entry.time, "root": entry.root, "committed": entry.committed}
    landed = 0
    for index, decided in enumerate(entry.decided):
        changeset, position = decided.id, log_position(seq, index)
        rows.strings["outcome:" + changeset] = encode_record(outcome_in(entry, index))
        rows.score(f"decided:{decided.slice}:{decided.status}", changeset, position)
        if decided.key and decided.reason != "duplicate":
            rows.firsts.setdefault("key:" + decided.key, f"{changeset} {decided.fingerprint}")
        if decided.status == Status.COMMITTED:
            rows.score("chain", changeset, position)
            landed += 1
        if decided.status == Status.CONFLICTED:
            for key in _open_keys(decided.slice, [conflict.path for conflict in decided.conflicts]):
                rows.score(key, changeset, position)
        rows.removed_fields.setdefault("undecided", []).append(changeset)
        if decided.held:
            rows.remove("released", changeset)
        if decided.closes:
            _close(decided.closes, changeset, rows)
    if landed:
        batch = Batch(count=landed, seq=seq, time=entry.time, tip=entry.tip, tree=entry.root)
        rows.score("batches", encode_record(batch), seq)
    _list_effects(entry, rows)
    _move_effects(entry, rows)


def _move_effects(entry: Commits, rows: Effects) -> None:
    """Set where files went, by the path that they left."""
    for index, decided in enumerate(entry.decided):
        for source, path, oid in decided.moves:
            # With its position, since a path may be left for one other path again and again.
            position = log_position(entry.seq, index)
            rows.score(f"moved:{source}", f"{position} {oid} {path}", position)
            rows.head["moved"] = position


def _list_effects(entry: Commits, rows: Effects) -> None:
    """Set what lists find changesets by."""
    listed: dict[bytes, list[bytes]] = {}  # by digest: index and id of each changeset
    for index, decided in enumerate(entry.decided):
        if found_by := dict.fromkeys(digests(decided)):
            item = index.to_bytes(2, "big") + bytes_of(decided.id)
            for digest in found_by:
                listed.setdefault(digest, []).append(item)
    for digest, items in listed.items():
        key, head = listed_key(digest), listed_after(digest, entry.seq)
        for start in range(0, len(items), LISTED_TOGETHER):
            rows.score(key, head + b"".join(items[start : start + LISTED_TOGETHER]), 0)


def listed_key(digest: bytes) -> str:
    """Return the key of the sorted set that has the changesets of a digest, and some of others."""
    return f"listed:{digest[:2].hex()}"


def listed_after(digest: bytes, seq: int) -> bytes:
    """Return with what the members begin that have the changesets of a digest in entry `seq`.

    One member has many of one entry: a set in which everything of a batch is counted once each takes 120 bytes for it.
    All have the score 0, so that they stand in the order of their bytes: by digest, then by position in the log.
    """
    return digest[2:] + seq.to_bytes(5, "big")


def listed_in(member: bytes) -> list[tuple[ChangesetId, int]]:
    """Return the changesets that a member names, with their positions in the log, in order."""
    seq = int.from_bytes(member[LISTED_HEAD - 5 : LISTED_HEAD], "big")
    items = (member[at : at + LISTED_BYTES] for at in range(LISTED_HEAD, len(member), LISTED_BYTES))
    return [(ChangesetId(text_of(item[2:])), log_position(seq, int.from_bytes(item[:2], "big"))) for item in items]


def _close(closed: Closing, by: str, rows: Effects) -> None:
    """Take a conflicted changeset out of the open conflicts: `by` another that takes its place, or by hand."""
    for key in _open_keys(closed.slice, closed.paths):
        rows.remove(key, closed.id)
    rows.hashes.setdefault("closed", {})[closed.id] = by


def _open_keys(slice_id: str, paths: Iterable[str]) -> list[str]:
    return ["open", f"open:{slice_id}", *("open_on:" + path for path in paths)]


def _compact_effects(entry: Compact, rows: Effects) -> None:
    rows.head |= {"archived": entry.archived, "keys_through": entry.keys_through, "mark": entry.mark}
    rows.head["compacted"] = entry.seq
    if entry.dropped:
        rows.removed_fields["tables"] = list(entry.dropped)
    _archive_effects(entry, rows)
    for name in entry.deleted:
        rows.remove("retired", name)
    rows.score_all("retired", entry.retired, entry.time)
    if entry.undecided:
        rows.hashes["undecided"] = {str(changeset): pack for changeset, pack in entry.undecided.items()}


def _forget(forgotten: Forgotten, rows: Effects) -> None:
    """Take back what archived entries made, but for the present state."""
    rows.unindexed = forgotten.objects
    for old, old_hash in forgotten.history:
        made = effects(old, old_hash)
        rows.removed_strings += [key for key in made.strings if key.startswith(HISTORY)]
        for key, members in made.sorted_sets.items():
            if key.startswith(HISTORY):
                rows.removed_members.setdefault(key, []).extend(members)
        for key, fields in made.hashes.items():
            if key.startswith(HISTORY):
                rows.removed_fields.setdefault(key, []).extend(fields)
    for old, old_hash in forgotten.keys:
        # Not from one that took it over when the first was forgotten.
        rows.removed_firsts |= effects(old, old_hash).firsts
