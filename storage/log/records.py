"""The records of changesets in entries: decisions, changes, conflicts. Pure.

msgspec reads and writes them as JSON: a field that has its default is left out, and an unknown field is ignored. Their
paths are texts as `recorded_path` of storage/git/paths.py makes them.
Changes and merged files are lists by position, whose last fields older versions did not write.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple, Self

from msgspec import UNSET, Struct, UnsetType, field
from msgspec.json import Decoder
from msgspec.structs import fields

from storage.access.policy import Role
from storage.base.ids import ChangesetId, ObjectId, PackId, SliceId, oid_of
from storage.git.objects import UNKNOWN_MODE, Version
from storage.git.packs import PackRange
from storage.git.paths import is_text, raw_path, recorded_path


class Status(StrEnum):
    """Where a changeset stands. The comments are the transitions; there are no others."""

    HELD = "held"  # -> queued | abandoned
    QUEUED = "queued"  # -> committed | conflicted | rejected | abandoned
    COMMITTED = "committed"  # -> landed
    LANDED = "landed"  # final: a global commit merged it
    CONFLICTED = "conflicted"  # final: a path that it changes moved since its base
    REJECTED = "rejected"  # final: could never be committed; the reason says why
    ABANDONED = "abandoned"  # final: taken back before it was committed


NAMING_OTHERS = frozenset({"duplicate", "conflict-closed", "base-not-landed", "in-the-way"})
"""Reasons of rejections whose detail may name changesets, or paths, that the submitter may not know of."""


class Record(Struct, frozen=True, omit_defaults=True, gc=False):
    """A part of an entry."""


class Actor(Record, frozen=True, kw_only=True):
    """Who had something done: a principal, by which of its tokens, in which request, from where."""

    principal: str
    token: str = ""  # its id; empty for the root token
    request: str = ""
    address: str = ""


class Submitter(Actor, frozen=True, kw_only=True):
    """Who submitted a changeset, and to what its token is limited, which counts when the changeset is decided."""

    role: Role | None = None
    paths: tuple[str, ...] = ()


class Facts(Record, frozen=True, kw_only=True):
    """What a changeset's writer said of it, as far as lists and events tell it."""

    author: tuple[str, str]  # name and e-mail
    subject: str  # the first line of its message, cut
    more: bool = False  # the message has more than that
    labels: dict[str, str] = {}
    base: str | None = None  # the commit, or the changeset, that it was based on; None: on versions
    paths: int = 0  # how many paths it changes, where `covers` does not name each


class Waiting(Record, frozen=True, kw_only=True):
    """What lists tell of a changeset that is not decided."""

    facts: Facts
    by: str = ""  # the principal that submitted it; empty where there were no tokens
    covers: tuple[str, ...] = ()


class Pushed(Record, frozen=True, kw_only=True):
    """A commit that was pushed by Git, as far as its changeset does not say it, for projections to repeat.

    The texts are UTF-8. Where the commit has anything else, all of them are its bytes, each as the character with that
    number (ISO 8859-1), and `bytewise` is set.
    """

    commit: str  # its id
    author: str  # the line of its header, without the word
    committer: str
    message: str
    encoding: str = ""  # what its header says, if it does
    bytewise: bool = False

    @classmethod
    def of(cls, commit: ObjectId, author: bytes, committer: bytes, message: bytes, encoding: bytes = b"") -> Self:
        """Return the record of a commit, given what its object has."""
        parts = (author, committer, message, encoding)
        try:
            texts, bytewise = [part.decode() for part in parts], False
        except UnicodeDecodeError:
            texts, bytewise = [part.decode("latin-1") for part in parts], True
        return cls(
            commit=commit.hex(), author=texts[0], committer=texts[1], message=texts[2], encoding=texts[3],
            bytewise=bytewise,
        )  # fmt: skip

    @property
    def committer_email(self) -> str:
        """The e-mail in the committer's line as text."""
        raw = self.raw(self.committer).partition(b"<")[2].partition(b">")[0]
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def raw(self, text: str) -> bytes:
        """Return the bytes that the commit has for one of the texts."""
        return text.encode("latin-1" if self.bytewise else "utf-8")


class RecordedVersion(Record, frozen=True, kw_only=True):
    """A version at a path, as conflicts name it."""

    mode: str | None  # octal; None where nobody knows it
    id: str

    @classmethod
    def of(cls, version: Version | None) -> Self | None:
        """Return the record of a version; None where there is none."""
        if version is None:
            return None
        return cls(mode=None if version.mode == UNKNOWN_MODE else f"{version.mode:06o}", id=version.oid.hex())


def version_of(recorded: RecordedVersion | None) -> Version | None:
    """Return the version that is recorded."""
    if recorded is None:
        return None
    mode = UNKNOWN_MODE if recorded.mode is None else int(recorded.mode, 8)
    return Version(mode, ObjectId(bytes.fromhex(recorded.id)))


class RecordedConflict(Record, frozen=True, kw_only=True):
    """A path at which a changeset collided."""

    path: str
    kind: str = field(name="class")  # a ConflictClass
    base: RecordedVersion | None
    head: RecordedVersion | None
    submitted: RecordedVersion | None
    blocker: str | None = None  # the other path, of a file in the place of a directory
    moved: str | None = None  # the other path, where the head has the file


class RecordedChange(NamedTuple):
    """A change of a committed changeset; `changes` says more, and stands in the submission pack."""

    path: str
    mode: int  # 0 for a delete, and for a move that leaves the mode as it is
    oid: str | None  # None for a delete, and where the content stays as it is
    offset: int | UnsetType | None = UNSET  # where the submission pack has the blob, if it has: all three or none
    length: int | UnsetType | None = UNSET
    size: int | UnsetType | None = UNSET
    source: str | UnsetType = UNSET  # of a move: the path that the file left, which another change deletes

    @property
    def range(self) -> PackRange | None:
        """Where the submission pack has the blob; None where it is not in there."""
        if self.offset is UNSET or self.offset is None:
            return None
        return PackRange(self.offset, self.length, self.size)  # type: ignore[arg-type]

    @property
    def is_move(self) -> bool:
        """Whether it says where a file went."""
        return self.source is not UNSET


class MergedFile(NamedTuple):
    """A path that got another version than was submitted."""

    path: str
    mode: int
    oid: str
    size: int | UnsetType | None = UNSET  # of a blob that Sluice made; older entries do not say


class Moved(NamedTuple):
    """A file that left a path for another one in the head, by a move that its changeset says."""

    source: str
    path: str
    oid: str  # what stood at the source before

    @classmethod
    def of(cls, source: bytes, path: bytes, oid: ObjectId) -> Self:
        """Return the record of a move."""
        return cls(recorded_path(source), recorded_path(path), oid.hex())


class Left(NamedTuple):
    """A file that left a path by a recorded move."""

    position: int  # of its changeset in the log
    oid: ObjectId  # what stood at the path before
    to: bytes

    @classmethod
    def of(cls, moved: Moved, position: int) -> Self:
        """Return a move as who knows the path that it left has it."""
        return cls(position, oid_of(moved.oid), raw_path(moved.path))


class Followed(NamedTuple):
    """A change that was made at another path than it was submitted for, since the file had moved there."""

    path: str
    to: str

    @classmethod
    def of(cls, path: bytes, to: bytes) -> Self:
        """Return the record of where a change was made."""
        return cls(recorded_path(path), recorded_path(to))


class Closing(Record, frozen=True, kw_only=True):
    """The end of a conflict: nothing is to be done about it any more."""

    id: ChangesetId
    slice: SliceId
    paths: tuple[str, ...]
    by: str | None = None  # in an entry of its own; else the changeset whose record says so takes its place


class Decision(Record, frozen=True, kw_only=True):
    """What became of a changeset."""

    status: Status
    slice: SliceId
    pack: PackId  # its submission pack
    commit: str | None = None
    reason: str | None = None  # of a rejection, for programs
    detail: str | None = None  # of a rejection, for people
    first: ChangesetId | None = None  # of a duplicate: which had the idempotency key before it
    conflicts: tuple[RecordedConflict, ...] = ()  # the first of them
    conflict_count: int = 0
    merged_count: int = 0  # paths that got another version than was submitted
    blind: bool = False  # on a base by versions, or stacked on one that is: what nobody named was not seen
    # What its writer saw, for those that stack on it: one of these two, or that of `base`.
    saw: str | None = None  # the tree of the base, if the base is outside of its batch
    seen: str | None = None  # that tree with its own changes
    base: ChangesetId | None = None  # the changeset that it is stacked on, in the same batch
    held: bool = False  # it was held before it was decided
    released: int = 0  # the entry that released it, where it was held; older entries do not say
    resolves: ChangesetId | None = None  # the conflicted changeset whose place it takes
    key: str | None = None  # the idempotency key
    fingerprint: str | None = None  # with a key: what tells a repeat from another request
    by: Actor | None = None  # who submitted it; None: it was accepted while there were no tokens
    covers: tuple[str, ...] = ()  # path prefixes that hold all paths that it changes; older: only with `by`
    facts: Facts | None = None  # None: an older version wrote it, or its manifest could not be read
    at: int = 0  # when it was decided, in seconds; 0: at the time of its entry
    priority: int = 0
    followed_count: int = 0  # changes that were made at another path, since the file had moved there


class Decided(Decision, frozen=True, kw_only=True):
    """A changeset's record in its entry."""

    id: ChangesetId
    changes: tuple[RecordedChange, ...] = ()  # of a committed one
    merged: tuple[MergedFile, ...] = ()
    moves: tuple[Moved, ...] = ()
    followed: tuple[Followed, ...] = ()
    closes: Closing | None = None
    trace: str | None = None  # the W3C traceparent of the request that submitted it, where that is traced
    pushed: Pushed | None = None  # of a committed or conflicted one that came as a commit by Git

    def blobs(self) -> Iterator[str]:
        """Yield the ids of the blobs that were taken from the submission pack."""
        return (change.oid for change in self.changes if change.oid and change.range)

    def touches(self, path: str) -> bool:
        """Tell whether it changed a path, or what moved there."""
        return any(change.path == path for change in self.changes) or any(each.to == path for each in self.followed)

    @property
    def names_bytes(self) -> bool:
        """Whether it names a path that is not UTF-8, which older versions would take for another.

        `covers` do not count: no right names a part that is not UTF-8, so these judge by its text as by its bytes.
        """
        named = [*(change.path for change in self.changes), *(move.source for move in self.moves)]
        named += [at for conflict in self.conflicts for at in (conflict.path, conflict.blocker, conflict.moved) if at]
        named += [at for each in self.followed for at in each]
        return not all(map(is_text, named))

    @property
    def says_moves(self) -> bool:
        """Whether it says something of moves, which older versions would lose."""
        said = self.moves or self.followed or any(change.is_move for change in self.changes)
        return bool(said) or any(conflict.moved is not None for conflict in self.conflicts)


class Outcome(Decision, frozen=True, kw_only=True):
    """A changeset's outcome in the view: its record without what grows with the changeset, and where that stands."""

    seq: int
    index: int
    main: bool = False  # its entry has brought the global commit, too: it landed when it was committed

    @classmethod
    def of(cls, decided: Decided, seq: int, index: int, time: int = 0, main: bool = False) -> Self:
        """Return the outcome of a record in entry `seq`, which was made at `time` (seconds)."""
        values = dict(zip(_DECISION, _values_of(decided), strict=True))
        values["at"] = values["at"] or time
        return cls(seq=seq, index=index, main=main and decided.status == Status.COMMITTED, **values)


decode_outcome = Decoder(Outcome).decode
"""Reads an outcome as the view has it."""

decode_waiting = Decoder(Waiting).decode
"""Reads what the queues have of a changeset."""

_DECISION = tuple(info.name for info in fields(Decision))
_values_of = attrgetter(*_DECISION)


def written(rows: Iterable[tuple[object, ...]]) -> tuple[tuple[object, ...], ...]:
    """Return lists by position as they are written, without the fields that they do not have."""
    return tuple([row[: row.index(UNSET)] if row[-1] is UNSET else row for row in rows])
