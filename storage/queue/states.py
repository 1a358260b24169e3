"""What queues and view return about changesets: claimed ones, states, and the data for admission."""

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from storage.base.ids import ChangesetId, PackId, SliceId
from storage.log.records import Facts, Outcome, Status, Waiting
from storage.view.snapshot import Slice


@dataclass(frozen=True, slots=True)
class Claimed:
    """A changeset that a batch has claimed."""

    slice: SliceId
    id: ChangesetId
    pack: PackId
    deaths: int = 0  # of a suspect: how often it was tried alone and its worker died, or it failed
    fault: str = ""  # what the last one was


class Permit(NamedTuple):
    """What allows its holder to send one message."""

    token: str  # by which the message counts as outstanding
    waits: bool  # whether to wait a moment first, since changesets keep coming and are not a batch yet


class Stage(Enum):
    """How far a changeset has come. The values are those of lua/known.lua."""

    UNKNOWN = "0"  # neither; where Redis is recovered: there is no such changeset
    WAITING = "1"  # in a queue, or held until its release
    DECIDED = "2"  # it has an outcome


class NoPosition(Enum):
    """Why a changeset was not put into a queue. The values are those of lua/queueing.lua."""

    DECIDED = -1  # it has an outcome, and was passed over
    HELD = -2  # it waits for its release


@dataclass(frozen=True, slots=True)
class ChangesetState:
    """The state of a changeset; which of the fields it has depends on its stage."""

    outcome: Outcome | None  # once it is decided
    slice: SliceId | None  # while it waits
    position: int | None  # in its slice's queue; None while it is held, or released and not yet queued
    through: int  # the last merged entry: a committed changeset up to it has landed
    pack: PackId | None = None  # its submission pack, while it has no outcome
    held: bool = False  # waits for its release
    resolves: ChangesetId | None = None  # the changeset whose place it takes, while it has no outcome
    closed_by: str | None = None  # of a conflict that is no longer open: what took its place, "abandoned" or "expired"
    priority: int = 0  # while it has no outcome
    told: Waiting | None = None  # while it waits: what lists tell of it; None where an older version queued it

    @property
    def facts(self) -> Facts | None:
        """What its writer said of it; None where an older version took it or decided it."""
        if self.outcome is not None:
            return self.outcome.facts
        return self.told.facts if self.told else None

    @property
    def covers(self) -> tuple[str, ...]:
        """Path prefixes that hold all that it changes; none where that is not known here."""
        if self.outcome is not None:
            return self.outcome.covers
        return self.told.covers if self.told else ()

    @property
    def status(self) -> Status:
        """Its status, if it is known: a committed one has landed once a global commit merged its entry."""
        outcome = self.outcome
        if outcome is None:
            return Status.HELD if self.held else Status.QUEUED
        if outcome.status == Status.COMMITTED and outcome.seq <= self.through:
            return Status.LANDED
        return outcome.status

    @property
    def stage(self) -> Stage:
        """How far it has come."""
        if self.outcome is not None:
            return Stage.DECIDED
        return Stage.UNKNOWN if self.slice is None else Stage.WAITING


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
    mark: str = ""  # up to it, changesets may be in the archive
    compacted: int = 0  # the entry of the last compaction
    advisory_claims: int = 0  # how many there are, with some that have expired
    waiting_of: dict[str, int] = field(default_factory=dict)  # by principal: how many it has queued or held
