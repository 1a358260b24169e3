"""What a writer submits, after app/protocol has checked it and before anything is stored. Pure values."""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct, field

from storage.git.paths import path_json
from storage.git.threeway import Strategy
from storage.log.manifest import Op
from storage.log.records import Pushed


class Change(Struct, frozen=True):
    """One path of a changeset."""

    op: Op
    path: bytes  # one that Git checks out anywhere; as a rule UTF-8
    mode: int  # of a put or mode; 0 for a delete, and for a move that leaves the mode as it is
    content: bytes | None = None  # of a put or move that brings its bytes
    oid: bytes | None = None  # of a put by id: a stored blob, or a submodule's commit; 20 raw bytes
    base: bytes | None = None  # with a base by versions: the id seen, None where the file did not exist
    strategy: Strategy = Strategy.MERGE
    base_mode: int | None = None  # the mode seen beside `base`, where it is known
    source: bytes | None = None  # of a move: the path that the file leaves, which a delete behind all changes names


def field_of(changes: Sequence[Change], position: int, name: str = "path") -> str:
    """Return the field of a request that gave a change: the delete of a move is its `from`."""
    change = changes[position]
    if change.op == "delete":
        moves = (i for i, each in enumerate(changes) if each.source == change.path)
        if (move := next(moves, None)) is not None:
            return f"changes[{move}].{path_field(change.path, 'from') if name == 'path' else name}"
    return f"changes[{position}].{path_field(change.path) if name == 'path' else name}"


def path_field(path: bytes, name: str = "path") -> str:
    """Return the field that gives a path: `path`, or `path_base64` where it is not UTF-8."""
    [field] = path_json(name, path)
    return field


@dataclass(frozen=True, slots=True)
class CommitBase:
    """The writer saw the tree of a commit."""

    oid: bytes


@dataclass(frozen=True, slots=True)
class ChangesetBase:
    """The writer saw what an earlier changeset's writer saw, and what that one submitted."""

    id: str


@dataclass(frozen=True, slots=True)
class ItemBase:
    """As ChangesetBase, for an earlier item of the same bulk request, whose id is not known yet."""

    position: int


@dataclass(frozen=True, slots=True)
class VersionsBase:
    """Each change says which version its writer saw."""


Base = CommitBase | ChangesetBase | ItemBase | VersionsBase


class Submission(Struct, frozen=True, kw_only=True):
    """A changeset as its writer gave it; what is None is for the server to fill in."""

    slice: str  # an id or a name; not yet looked up
    base: Base
    author_name: str | None = None  # name and e-mail stand together or not at all
    author_email: str | None = None
    author_time: int | None = None  # seconds since the epoch
    author_zone: int = 0  # minutes east of Greenwich
    message: str
    changes: tuple[Change, ...]
    key: str | None = None  # the idempotency key
    hold: bool = False  # not to be committed before it is released
    resolves: str | None = None  # the changeset whose place it takes
    priority: int = 0  # from -100 to 100; the higher, the sooner it is claimed
    labels: dict[str, str] = field(default_factory=dict)  # in the order of their keys
    pushed: Pushed | None = None  # the commit that it is, where it came by Git
