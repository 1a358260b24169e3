"""What the queues say of changesets: which a batch has claimed, where one stands, what admission asks for."""

from __future__ import annotations

from dataclasses import dataclass, field

from storage.base.ids import ChangesetId, PackId, SliceId
from storage.log.records import Outcome
from storage.view.snapshot import Slice


@dataclass(frozen=True, slots=True)
class Claimed:
    """A changeset that a batch has claimed."""

    slice: SliceId
    id: ChangesetId
    pack: PackId
    deaths: int = 0  # of a suspect: how often it was tried alone and its worker died, or it failed
    fault: str = ""  # what the last one was


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a changeset stands: its outcome, or its slice and position in the queue, or neither."""

    outcome: Outcome | None
    slice: SliceId | None
    position: int | None
    through: int  # the last merged entry: a committed changeset up to it has landed
    pack: PackId | None = None  # its submission pack, while it has no outcome
    held: bool = False  # waits for its release
    resolves: ChangesetId | None = None  # the changeset whose place it takes, while it has no outcome
    closed_by: str | None = None  # of a conflict that is no longer open: what took its place, "abandoned" or "expired"


@dataclass(frozen=True, slots=True)
class Admission:
    """What the API asks before it takes submissions."""

    recovered: bool  # queues hold all that is undecided, so what is unknown does not exist
    pending: int
    queued: int
    held: int
    slices: dict[str, Slice] = field(default_factory=dict)  # by the id or name that was asked for
    queued_in: dict[str, int] = field(default_factory=dict)
    bases: frozenset[str] = frozenset()  # of those asked for, the changesets that are known
    keys: dict[str, tuple[ChangesetId, str]] = field(default_factory=dict)  # owner and fingerprint
