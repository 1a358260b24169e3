"""What the entries of the log mean for a slice, step by step, in the order of the log. Pure.

An entry is settled once everything that it and the entries before it committed has landed. Only steps of settled
entries are told: then whoever follows the log, from wherever, at whatever moments, sees the same steps in the same
order, and nobody sees a commit that has not landed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from storage.base.errors import Unavailable
from storage.base.ids import ObjectId, PackId, Seq, SliceId, oid_of
from storage.git.paths import raw_path
from storage.git.trees import covers
from storage.log.entry import Commits, Definition, Entry, Genesis, Import, Slices, Tags, log_position
from storage.log.records import Decided, Pushed, Status
from storage.projection.slice_trees import grows

EVERYTHING = frozenset([b"/"])


class Shrunk(Unavailable):
    """The definition of a slice has lost paths: a new projection begins, for who asks again."""


class DefinitionChanged(Unavailable):
    """The slice is defined otherwise than whoever asks has seen it: look at it, and at the rights to it, again."""


class Landed(NamedTuple):
    """A commit of the chain that changes something in the slice."""

    position: int  # in the log
    commit: ObjectId
    paths: tuple[bytes, ...]  # that it changes, as far as they are the slice's
    pushed: Pushed | None
    is_whole: bool = True  # it changes nothing else


class Redefined(NamedTuple):
    """The slice has more paths from here on."""

    position: int
    commit: ObjectId  # the newest of the chain
    version: int
    paths: frozenset[bytes]
    time: int  # in seconds; 0: the log does not say


class Published(NamedTuple):
    """A global commit, of the whole: a tag may name it."""

    commit: ObjectId


class Tagged(NamedTuple):
    """Tags of the whole are made, moved or deleted."""

    tags: tuple[tuple[str, ObjectId | None], ...]  # by name; None: deleted


class Imported(NamedTuple):
    """A Git history has become that of the repository: the whole has all of it, a slice its part."""

    position: int  # in the log
    commit: ObjectId  # the tip
    packs: tuple[PackId, ...]  # that have the whole history


Step = Landed | Redefined | Published | Tagged | Imported


class Settled(NamedTuple):
    """A settled entry with its steps."""

    seq: Seq
    hash: str
    tip: ObjectId | None  # the newest commit of the chain
    steps: tuple[Step, ...]


class Follower:
    """Takes the entries behind a settled one, in order, and yields settled ones. Holds what has not landed."""

    def __init__(
        self, paths: frozenset[bytes], slice_id: SliceId | None = None, version: int = 0, last: int = 0,
        tip: ObjectId | None = None,
    ) -> None:  # fmt: skip
        """Begin behind the settled state of a slice, or of the whole (no id) from the beginning.

        `version` and `paths` are its definition there, `last` the version that is wanted, `tip` the newest commit of
        the chain there.
        """
        self._paths = paths
        self._slice = slice_id
        self._version = version
        self._last = last
        self._tip = tip
        self._waiting: deque[tuple[Settled, bool]] = deque()  # with whether it has committed something
        self._through = 0  # commits of the entries up to this one have landed

    def add(self, entry: Entry, entry_hash: str) -> Iterator[Settled]:
        """Take the next entry; yield those that are settled now. Raises Shrunk and DefinitionChanged."""
        committed = False
        steps: list[Step] = []
        match entry:
            case Genesis():
                self._tip = oid_of(entry.commit)
                steps.append(Landed(log_position(entry.seq, 0), self._tip, (), None))
            case Commits():
                committed = any(decided.status == Status.COMMITTED for decided in entry.decided)
                steps += self._commits(entry)
                self._tip = oid_of(entry.tip)
            case Import():
                steps += self._import(entry)
                self._tip = oid_of(entry.commit)
            case Slices() if self._slice:
                steps += self._definitions(entry)
            case Tags() if not self._slice:
                changed = ((each.name, oid_of(each.id) if each.id else None) for each in entry.changed)
                steps.append(Tagged(tuple(changed)))
        if made := entry.global_commit:
            self._through = max(self._through, made.through)
            if made.parents and not self._slice:
                steps.append(Published(oid_of(made.commit)))
        self._waiting.append((Settled(entry.seq, entry_hash, self._tip, tuple(steps)), committed))
        while self._waiting and not (self._waiting[0][1] and self._waiting[0][0].seq > self._through):
            yield self._waiting.popleft()[0]

    def _import(self, entry: Import) -> Iterator[Step]:
        yield Imported(log_position(entry.seq, 0), oid_of(entry.commit), tuple(pack for pack, _ in entry.archives))
        if not self._slice and entry.tags:
            yield Tagged(tuple((name, oid_of(oid)) for name, oid in entry.tags.items()))

    def _commits(self, entry: Commits) -> Iterator[Landed]:
        everything = self._paths == EVERYTHING
        for index, decided in enumerate(entry.decided):
            if decided.status == Status.COMMITTED and decided.commit:
                changed = paths = changed_paths(decided)
                if not everything:
                    paths = tuple([path for path in changed if covers(self._paths, path)])
                if paths or self._slice is None:
                    yield Landed(
                        log_position(entry.seq, index), oid_of(decided.commit), paths, decided.pushed,
                        len(paths) == len(changed),
                    )  # fmt: skip

    def _definitions(self, entry: Slices) -> Iterator[Redefined]:
        for new in entry.define:
            if new.id != self._slice or new.version <= self._version:
                continue
            paths = paths_of(new)
            if new.version > self._last:
                raise DefinitionChanged
            if not grows(self._paths, paths):
                raise Shrunk
            assert self._tip is not None
            self._paths, self._version = paths, new.version
            yield Redefined(log_position(entry.seq, 0), self._tip, new.version, paths, entry.time)


def changed_paths(decided: Decided) -> tuple[bytes, ...]:
    """Return the paths that a changeset's commit may have changed."""
    paths = {raw_path(change.path) for change in decided.changes}
    paths |= {raw_path(merged.path) for merged in decided.merged}
    # A change that was made where its file is by now, and a file that left that place.
    paths |= {raw_path(followed.to) for followed in decided.followed}
    paths |= {raw_path(move.source) for move in decided.moves}
    return tuple(sorted(paths))


def paths_of(definition: Definition) -> frozenset[bytes]:
    """Return a definition's paths as trees have them."""
    return frozenset(path.encode() for path in definition.paths)


def begun(entries: Iterable[Entry], slice_id: SliceId, version: int) -> tuple[int, frozenset[bytes]] | None:
    """Return version and paths with which the projection begins that has the definition `version` of a slice.

    That is the first definition, or the last one that took paths away. None where the log has not that version.
    """
    start: tuple[int, frozenset[bytes]] | None = None
    paths: frozenset[bytes] = frozenset()
    for entry in entries:
        for new in entry.define if isinstance(entry, Slices) else ():
            if new.id == slice_id and new.version <= version:
                before, paths = paths, paths_of(new)
                if start is None or not grows(before, paths):
                    start = new.version, paths
                if new.version == version:
                    return start
    return None
