"""The format of the log's entries. Pure.

An entry is JSON in a canonical form (sorted keys, no spaces), so that equal entries are equal bytes. Every number in an
entry is a value, never an increment, so that an interrupted `apply` can be repeated (invariant 4). storage/view/rows.py
turns an entry into the rows of the view.

Readers must read every format that was ever written; tests/testdata/entries holds one of each. An entry has the oldest
format that can say it: 2 where a batch has its global commit with it, 3 for tokens and the policy, 4 for a policy with
quotas, for webhooks, and where it names who had it made and older versions did not write that, 5 for what came with
Git in and out (imports, tags, mirrors, pushed commits, moves, paths that are not UTF-8), else 1. A format is written
once every node reads it (storage/coordination/nodes.py).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from storage.access.policy import Policy
from storage.access.tokens import Token
from storage.base.errors import Corrupt
from storage.base.ids import ChangesetId, PackId, Seq, SliceId
from storage.log.kinds.base import (
    ACCESS_FORMAT,
    ACTOR_FORMAT,
    FORMATS,
    GIT_FORMAT,
    PUBLISHED_FORMAT,
    QUOTAS_FORMAT,
    WEBHOOKS_FORMAT,
    Entry,
    GlobalCommit,
    TableRow,
)
from storage.log.kinds.git import Import, Mirrors, Tags
from storage.log.records import Actor, Closing, Decided, Outcome, Record, written
from storage.webhooks.records import Webhook

# Beside what is defined here: the kinds of entries that came with Git in and out stand in kinds/git.py.
__all__ = [
    "ACCESS_FORMAT", "ACTOR_FORMAT", "FORMATS", "GIT_FORMAT", "WEBHOOKS_FORMAT", "Entry", "GlobalCommit", "Import",
    "Mirrors", "TableRow", "Tags",
]  # fmt: skip

NO_HASH = "0" * 64
# A changeset's position in the log is seq * SLOTS + its index: one number that orders all changesets.
SLOTS = 1 << 13


class CorruptEntry(Corrupt):
    """An entry is not the one that its position in the log requires."""


class Definition(Record, frozen=True, kw_only=True):
    """The definition of a slice."""

    id: SliceId
    name: str
    paths: tuple[str, ...]
    version: int


class Released(Record, frozen=True, kw_only=True):
    """A changeset that was held, and may be committed now."""

    id: ChangesetId
    slice: SliceId
    covers: tuple[str, ...] = ()  # as in its record


E = TypeVar("E", bound=Entry)


def _with_actor(actor: Actor | None) -> int:
    """Return the oldest format of an entry that names an actor, or none."""
    return ACTOR_FORMAT if actor else FORMATS[0]


class Genesis(Entry, tag="genesis", frozen=True, kw_only=True):
    """The first entry: an empty repository."""

    packs: tuple[tuple[PackId, int], ...]
    commit: str
    tree: str
    time: int

    @property
    def global_commit(self) -> GlobalCommit:
        """The first one, without parents."""
        return GlobalCommit(
            commit=self.commit, tree=self.tree, seq=self.seq, first=self.seq, through=self.seq,
            changesets=0, parents=(), time=self.time,
        )  # fmt: skip


class Slices(Entry, tag="slices", frozen=True, kw_only=True):
    """Slices are defined, changed (taken back and defined again, under the same id) or deleted."""

    define: tuple[Definition, ...]
    undefine: tuple[Definition, ...] = ()
    actor: Actor | None = None  # who asked for it; None where nobody knows, here and in the other kinds
    time: int = 0  # with an actor: when, in seconds

    @property
    def least_format(self) -> int:
        """4 with its actor."""
        return _with_actor(self.actor)


class Published(Record, frozen=True, kw_only=True):
    """The global commit of an entry's own commits, and of no others; its tree is theirs."""

    commit: str
    parent: str  # the global commit before it
    time: int
    changesets: int
    merged: int  # changesets merged so far


class Commits(Entry, tag="commits", frozen=True, kw_only=True):
    """Changesets are decided, and those committed that can be; where none waited for it, with their global commit."""

    packs: tuple[tuple[PackId, int], ...]
    decided: tuple[Decided, ...]
    tip: str  # the newest commit of the chain
    root: str  # its tree
    time: int  # its committer's, in seconds
    committed: int  # changesets committed so far
    published: Published | None = None
    actor: Actor | None = None  # who abandoned what was not decided; None for what a batch decides
    submitters: bool = False  # its commits name who submitted them, and nobody else; False: an older version made them

    @property
    def least_format(self) -> int:
        """5 with moves, pushed commits and paths that are not UTF-8, 4 with an actor, 2 with its global commit."""
        if any(record.says_moves or record.pushed or record.names_bytes for record in self.decided):
            return GIT_FORMAT
        return max(PUBLISHED_FORMAT if self.published else FORMATS[0], _with_actor(self.actor))

    @property
    def global_commit(self) -> GlobalCommit | None:
        """The global commit of its own commits, where it stands here; else an entry that follows makes it."""
        of = self.published
        if of is None:
            return None
        return GlobalCommit(
            commit=of.commit, tree=self.root, seq=self.seq, first=self.seq, through=self.seq,
            changesets=of.changesets, parents=(of.parent, self.tip), time=of.time,
        )  # fmt: skip


class Merge(Entry, tag="merge", frozen=True, kw_only=True):
    """A global commit publishes the next commits of the chain."""

    packs: tuple[tuple[PackId, int], ...]
    commit: str
    tree: str
    time: int
    parents: tuple[str, ...]
    first: Seq  # the entries whose commits it merges
    through: Seq
    changesets: int
    merged: int  # changesets merged so far

    @property
    def global_commit(self) -> GlobalCommit:
        """The global commit."""
        return GlobalCommit(
            commit=self.commit, tree=self.tree, seq=self.seq, first=self.first, through=self.through,
            changesets=self.changesets, parents=self.parents, time=self.time,
        )  # fmt: skip


class RevokedToken(Record, frozen=True, kw_only=True):
    """A token that is not valid any more."""

    id: str
    hash: str
    principal: str


class Access(Entry, tag="access", frozen=True, kw_only=True):
    """Tokens are issued or revoked, or the policy is replaced."""

    actor: Actor
    time: int  # in seconds
    issued: tuple[Token, ...] = ()
    revoked: tuple[RevokedToken, ...] = ()
    policy: Policy | None = None

    @property
    def least_format(self) -> int:
        """3: older versions know neither tokens nor policies; 4 with quotas or identities, which they would lose."""
        is_newer = self.policy is not None and (self.policy.quotas or self.policy.identities)
        return QUOTAS_FORMAT if is_newer else ACCESS_FORMAT


class Webhooks(Entry, tag="webhooks", frozen=True, kw_only=True):
    """Webhooks are made, changed or deleted, or how far they have come is noted."""

    actor: Actor | None = None  # None: Sluice itself
    time: int  # in seconds
    created: tuple[Webhook, ...] = ()  # they begin behind this entry
    changed: tuple[Webhook, ...] = ()
    deleted: tuple[str, ...] = ()
    # By webhook: all events before an entry, and so many of its own.
    reached: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)

    @property
    def least_format(self) -> int:
        """4: older versions know no webhooks."""
        return WEBHOOKS_FORMAT


class Release(Entry, tag="release", frozen=True, kw_only=True):
    """Changesets that were held are let go."""

    released: tuple[Released, ...]
    actor: Actor | None = None
    time: int = 0  # with an actor

    @property
    def least_format(self) -> int:
        """4 with its actor."""
        return _with_actor(self.actor)


class Close(Entry, tag="close", frozen=True, kw_only=True):
    """Conflicts are closed by hand, or since there were too many."""

    closed: tuple[Closing, ...]
    actor: Actor | None = None  # None: also where there were too many
    time: int = 0  # with an actor

    @property
    def least_format(self) -> int:
        """4 with its actor."""
        return _with_actor(self.actor)


class Asked(Entry, tag="asked", frozen=True, kw_only=True):
    """Somebody asked for something that a worker does, and that no entry of its own would name."""

    what: str  # "merge"
    actor: Actor
    time: int

    @property
    def least_format(self) -> int:
        """4: older versions do not know it."""
        return ACTOR_FORMAT


class Condemn(Entry, tag="condemn", frozen=True, kw_only=True):
    """Packs that no entry names are to be deleted: no entry may name them from here on."""

    condemned: tuple[PackId, ...]


class Compact(Entry, tag="compact", frozen=True, kw_only=True):
    """History leaves the view, and small packs are copied into larger ones."""

    first: Seq  # the entries that are archived
    archived: Seq
    keys_first: Seq  # the entries whose idempotency keys are forgotten
    keys_through: Seq
    mark: str  # changesets up to this id are decided, but for `undecided`
    archives: tuple[tuple[PackId, int], ...]
    tables: tuple[TableRow, ...]
    dropped: tuple[PackId, ...]  # tables that were merged
    retired: tuple[PackId, ...]
    deleted: tuple[PackId, ...]
    undecided: dict[ChangesetId, PackId]
    time: int  # from which what is retired has its grace


decode_global_commit = msgspec.json.Decoder(GlobalCommit).decode
"""Reads a global commit as the view has it."""

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(
    Genesis | Slices | Commits | Merge | Access | Webhooks | Release | Close | Asked | Condemn | Compact
    | Tags | Import | Mirrors
)  # fmt: skip


def placed(entry: E, seq: Seq, previous: str, by: str) -> E:
    """Return an entry with its position in the log: `seq`, behind the entry with the hash `previous`, written `by`."""
    return replace(entry, format=entry.least_format, seq=seq, previous=previous, by=by)


def encode(entry: Entry) -> bytes:
    """Return the bytes of an entry."""
    if not isinstance(entry, Commits):
        return _encoder.encode(entry)
    decided = [
        replace(record, changes=written(record.changes), merged=written(record.merged)) if record.changes else record
        for record in entry.decided
    ]
    return _encoder.encode(replace(entry, decided=decided))


def encode_record(record: msgspec.Struct) -> str:
    """Return the JSON of a record as the view has it."""
    return _encoder.encode(record).decode()


def decode(data: bytes) -> Entry:
    """Read an entry. Raises CorruptEntry where it is not JSON, or of a format or a kind that this version lacks."""
    try:
        entry = _decoder.decode(data)
    except msgspec.ValidationError as error:
        raise CorruptEntry(f"an entry is not of a format that this version of Sluice knows: {error}") from error
    except msgspec.DecodeError as error:
        raise CorruptEntry("an entry is not JSON") from error
    if entry.format not in FORMATS:
        raise CorruptEntry("an entry has a format that this version of Sluice does not know")
    return entry


def outcome_in(entry: Entry, index: int) -> Outcome:
    """Return the outcome that an entry's record has in the view."""
    assert isinstance(entry, Commits)
    return Outcome.of(entry.decided[index], entry.seq, index, entry.time, entry.published is not None)


def digest(data: bytes) -> str:
    """Return the hash by which the next entry names this one."""
    return sha256(data).hexdigest()


def log_position(seq: int, index: int) -> int:
    """Return a changeset's position in the log as one number."""
    return seq * SLOTS + index
