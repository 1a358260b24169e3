"""One instant of the view, as values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from storage.access.rights import WITHOUT_POLICY, Compiled
from storage.base.ids import ChangesetId, Seq, SliceId
from storage.log.records import Outcome


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
    access: Seq = Seq(0)  # the last entry about tokens and the policy
    policy: int = 0  # the version of the policy
    moved: int = 0  # the position in the log of the last changeset that moved files; 0: none ever did

    @property
    def pending(self) -> int:
        """Changesets that are committed and not yet merged."""
        return self.committed - self.merged


_HEAD_NUMBERS = {name for name, kind in Head.__annotations__.items() if kind in {"Seq", "int"}}


def head_of(flat: Sequence[bytes]) -> Head:
    """Build a Head from what Redis keeps: names and values in turn."""
    texts = [text.decode() for text in flat]
    fields = zip(texts[::2], texts[1::2], strict=True)
    return Head(**{name: int(value) if name in _HEAD_NUMBERS else value for name, value in fields})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Slice:
    """The definition of a slice as the view has it."""

    id: SliceId
    name: str
    paths: frozenset[bytes]
    version: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the view knew at one instant of everything that a batch needs."""

    epoch: str
    head: Head
    slices: Mapping[SliceId, Slice]  # those of the candidates that exist
    outcomes: Mapping[ChangesetId, Outcome]  # those of the candidates and of their bases that are decided
    keys: Mapping[str, ChangesetId]  # the idempotency keys of the candidates that have an owner
    undecided: frozenset[ChangesetId] = frozenset()  # those of the candidates that the mark has passed by
    run: str = ""  # of Redis: another one may know less, and more again before anybody looks
    closed: Mapping[ChangesetId, str] = field(default_factory=dict)  # of the candidates' conflicts: what closed them
    policy: Compiled = WITHOUT_POLICY

    def has_passed(self, changeset: ChangesetId) -> bool:
        """Tell whether a changeset without an outcome here is decided, or was never accepted: the mark is behind it."""
        return changeset <= self.head.mark and changeset not in self.outcomes and changeset not in self.undecided
