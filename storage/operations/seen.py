"""What the writer of a changeset saw at some paths, whatever the changeset's outcome.

The answer is the one that storage/commit/link.py uses, but for a few paths and without building trees: the tree of the
base commit or, in a stack, the nearest ancestor that changes a path, down to the first known tree. It reads the
directories on the paths and the manifests of ancestors, in pages, until every path has its answer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from storage.base.errors import Recovering, Refused
from storage.base.ids import ChangesetId, ObjectId, PackId, changesets_of, oid_of
from storage.commit import BaseResolver, base_said, seen_version
from storage.git.objects import Version, as_file
from storage.git.packs import Location
from storage.git.trees import lookup_many
from storage.log import manifest
from storage.log.manifest import Changeset, CorruptManifest
from storage.log.records import Outcome
from storage.queue import ChangesetState, Stage, read_pack
from storage.repository import Repository

# A stack is climbed so far. Committed ones know a tree at the latest where their batch began.
MAX_ANCESTORS = 10_000
# Manifests that are asked for at once; a climb begins with one and doubles.
_LARGEST_PAGE = 64
# Ancestors whose state is asked for at once, where a pack that was read says who they are.
_STATES = 200


class UnknownBase(Refused):
    """The base of a changeset, or of one below it in its stack, is not known here."""


class StackTooDeep(Refused):
    """What was seen is further down the stack than this search goes."""


@dataclass(slots=True)
class Seen:
    """What a writer saw at some paths."""

    versions: dict[bytes, Version | None]  # None where there was no file
    locations: dict[ObjectId, Location] = field(default_factory=dict)  # of what changesets of the stack submitted: as
    # long as these are not committed, the view does not know where it stands


def seen_by_writer(repo: Repository, changeset: Changeset, paths: Iterable[bytes]) -> Seen:
    """Return what the writer of `changeset` saw at `paths`.

    With a base by versions, nothing was seen at other paths than the changeset's own, and the mode is that of the same
    id below its commit, or in the head; it is UNKNOWN_MODE where another stands there, or none. Raises UnknownBase,
    StackTooDeep, Unavailable and Corrupt.
    """
    wanted = list(dict.fromkeys(paths))
    if not wanted:
        return Seen({})
    ancestors = _Ancestors(repo)
    bases = BaseResolver(ancestors.commit_tree, ancestors.outcome_of, lambda _: None, ancestors.read)
    if changeset.base_commit is not None:
        return Seen(_in_tree(repo, ancestors.commit_tree(changeset.base_commit), wanted))
    outcome = ancestors.outcome_of(changeset.id)
    if changeset.base_changeset is None:
        return Seen(_by_versions(repo, changeset, outcome, wanted))
    if outcome and outcome.saw:
        return Seen(_in_tree(repo, oid_of(outcome.saw), wanted))
    below = _Below(wanted)
    descent = bases.descend(changeset.base_changeset)
    for deep, (ancestor, _) in enumerate(descent):
        if deep == MAX_ANCESTORS:
            raise StackTooDeep(f"more than {MAX_ANCESTORS} changesets below it")
        below.take(ancestors.read(ancestor))
        if not below.left:
            return below.seen
    assert descent.tree is not None
    below.end(_in_tree(repo, descent.tree, [left.at for left in below.left.values()]))
    return below.seen


def _by_versions(
    repo: Repository, changeset: Changeset, outcome: Outcome | None, wanted: Sequence[bytes]
) -> dict[bytes, Version | None]:
    root = oid_of(repo.view.head().root)
    if outcome and outcome.commit:
        root = repo.objects.commit(repo.objects.commit(oid_of(outcome.commit)).parents[0]).tree
    heads = _in_tree(repo, root, wanted)
    changes = {change.path: change for change in changeset.changes}
    return {
        path: seen_version(changeset, changes[path], None, heads[path]) if path in changes else None for path in wanted
    }


class _Left(NamedTuple):
    """What is still looked for of a path: at which path it stood further down, and what is known of it."""

    at: bytes
    mode: int | None = None  # the nearest change of mode
    oid: ObjectId | None = None  # the content that it got when it moved


class _Below:
    """Walks a stack from newest to oldest. A path with only a mode so far needs its content from an older changeset."""

    def __init__(self, wanted: Sequence[bytes]) -> None:
        self.seen = Seen({})
        self.left: dict[bytes, _Left] = {path: _Left(path) for path in wanted}

    def take(self, ancestor: Changeset) -> None:
        """Take what the next changeset down the stack did."""
        changes = {change.path: change for change in ancestor.changes}
        for path, left in [(path, left) for path, left in self.left.items() if left.at in changes]:
            change = changes[left.at]
            if change.oid is not None and change.range is not None:
                self.seen.locations[change.oid] = Location(ancestor.pack, change.range)
            if change.source is not None and changes[change.source].base is None:
                self.left[path] = _Left(change.source, left.mode or change.mode or None, left.oid or change.oid)
                continue
            if change.op == "mode" and change.base is None:
                self.left[path] = left._replace(mode=left.mode or change.mode)
                continue
            del self.left[path]
            self.seen.versions[path] = _completed(change.version(base_said(change, changes)), left)

    def end(self, versions: dict[bytes, Version | None]) -> None:
        """Take what stands below the stack for what is left, by the paths at which it stood there."""
        for path, left in self.left.items():
            self.seen.versions[path] = _completed(versions[left.at], left)


def _completed(version: Version | None, left: _Left) -> Version | None:
    return version and Version(left.mode or version.mode, left.oid or version.oid)


class _Ancestors:
    """Reads the changesets of a stack, downwards."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._page = 1
        self._pack: PackId | None = None
        self._ids: list[ChangesetId] = []  # of the changesets in that pack
        self._read: dict[ChangesetId, Changeset] = {}  # the last page
        self._states: dict[ChangesetId, ChangesetState] = {}  # the last ones

    def state_of(self, changeset: ChangesetId) -> ChangesetState:
        """Return where a changeset stands. Raises UnknownBase, and Recovering where it may only not be known yet."""
        if changeset not in self._states:
            ids = self._likely(changeset)
            recovered, states = self._repo.queue.states(ids)
            self._states = dict(zip(ids, states, strict=True))
            if states[0].stage is Stage.UNKNOWN:
                if not recovered:
                    raise Recovering("changesets are being looked for")
                raise UnknownBase(f"there is no changeset {changeset}")
        state = self._states[changeset]
        if state.stage is Stage.UNKNOWN:
            # One of those that were asked for at the same time.
            del self._states[changeset]
            return self.state_of(changeset)
        return state

    def outcome_of(self, changeset: ChangesetId) -> Outcome | None:
        """Return a changeset's outcome, None while it has none. Raises as `state_of`."""
        return self.state_of(changeset).outcome

    def commit_tree(self, commit: ObjectId) -> ObjectId:
        """Return the tree of a commit. Raises UnknownBase."""
        tree = self._repo.objects.commit_tree(commit)
        if tree is None:
            raise UnknownBase(f"{commit.hex()} is no commit of this repository")
        return tree

    def read(self, changeset: ChangesetId) -> Changeset:
        """Return a changeset: from the page that was read, from copies in Redis, or from its pack."""
        if changeset not in self._read:
            state = self.state_of(changeset)
            pack = state.outcome.pack if state.outcome else state.pack
            assert pack is not None
            self._read = self._copies(changeset, pack)
            if changeset not in self._read:
                self._read = {member.id: member for member in read_pack(self._repo.archive, pack)}
            if changeset not in self._read:
                raise CorruptManifest(f"changeset {changeset} is not in the manifest of its pack")
        return self._read[changeset]

    def _copies(self, changeset: ChangesetId, pack: PackId) -> dict[ChangesetId, Changeset]:
        """Return what Redis has of a changeset and those before it in its pack, which a stack is made of."""
        if pack != self._pack:
            self._pack, self._ids = pack, changesets_of(pack)
        end = self._ids.index(changeset) + 1
        page = self._ids[max(0, end - self._page) : end]
        self._page = min(self._page * 2, _LARGEST_PAGE)
        copies = zip(page, self._repo.queue.manifests(page), strict=True)
        return {id_: manifest.decode(copy, pack) for id_, copy in copies if copy}

    def _likely(self, changeset: ChangesetId) -> list[ChangesetId]:
        """Return a changeset and those below it that have been read with it."""
        ids = [changeset]
        while len(ids) < _STATES:
            known = self._read.get(ids[-1])
            if known is None or known.base_changeset is None:
                break
            ids.append(known.base_changeset)
        return ids


def _in_tree(repo: Repository, tree: ObjectId, paths: Sequence[bytes]) -> dict[bytes, Version | None]:
    repo.objects.prefetch_paths(tree, paths)
    versions = lookup_many(repo.objects.tree, tree, paths)
    return {path: as_file(version) for path, version in versions.items()}
