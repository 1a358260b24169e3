"""A slice's part of an imported history: its commits, made by Git from the history's own packs, for a clone store.

The index of paths that the import wrote tells which commits changed something in the slice, and Git which stand on
which; so trees are read of those alone, and of merges whose parents differ in the slice. What is new, commits and the
directories above the slice's, goes into a temporary repository beside the packs, and Git packs what the newest commit
reaches: deltas as they are, and nothing else of the history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from storage.base.ids import ObjectId
from storage.clones.git_store import GitStore
from storage.clones.id_table import Row
from storage.git.imported.git_objects import GitObjects
from storage.git.imported.git_output import listed
from storage.git.objects import CorruptObject, Kind, Tree, object_id
from storage.git.packs import PackWriter
from storage.git.run_git import Git, ScratchRepository, isolated_environment
from storage.log.entry import SLOTS
from storage.lookup.archive import Archive
from storage.lookup.imported import MOST, imported_commits_of
from storage.projection import commits
from storage.projection.follow import Imported
from storage.projection.simplify import Kept, SimplifiedHistory
from storage.projection.slice_trees import SliceTrees

log = structlog.get_logger()

# Imported commits have positions from minus this one on: before all of the log.
_BEFORE = 1 << 40
# Bytes of a pack of what is new.
_PACK_BYTES = 16 << 20
_CONFIG = """\
	bigFileThreshold = 32m
	packedGitLimit = 256m
	deltaBaseCacheLimit = 64m
[pack]
	threads = 1
	windowMemory = 64m
	deltaCacheSize = 32m
"""


class Projected(NamedTuple):
    """What a slice has of an imported history."""

    rows: list[Row]  # in order, that of the imported tip last
    size: int  # bytes that came into the store


def history_of(git: Git, tip: ObjectId) -> Iterator[tuple[ObjectId, ObjectId, list[ObjectId]]]:
    """Yield all commits that a commit reaches, with their roots and parents, parents first. Raises GitFailed."""
    form = ("--no-commit-header", "--format=%H %T %P")
    for line in listed(git, "rev-list", "--topo-order", "--reverse", *form, tip.hex()):
        commit, root, *parents = [ObjectId(bytes.fromhex(part)) for part in line.decode().split()]
        yield commit, root, parents


def rows_of_all(git: Git, tip: ObjectId) -> Iterator[Row]:
    """Yield the rows that a store of the whole has for the commits below an imported tip. Raises GitFailed."""
    for number, (commit, _, _) in enumerate(history_of(git, tip)):
        if commit != tip:
            yield Row(number - _BEFORE, commit, commit)


def project_import(
    imported: Imported, originals: Path, paths: frozenset[bytes], touched: Collection[ObjectId] | None, store: GitStore
) -> Projected:
    """Bring the commits of a slice with these paths into its store.

    `originals` is a bare repository with the history's packs, and `touched` what `touched_by` returns. Raises GitFailed
    and CorruptObject.
    """
    git, sizes = Git(environment=isolated_environment(originals)), list[int]()
    with GitObjects(git) as objects, ScratchRepository("slice", _CONFIG, originals / "objects") as scratch:
        made = _New(scratch)
        kept, count = _simplified(SliceTrees(paths), touched, imported.commit, git, objects, made)
        own = _written(kept, objects, made)
        made.flush()
        if own:
            packed = scratch.git.stream(
                "pack-objects", "--revs", "--stdout", "-q", "--delta-base-offset", stdin=own[-1].hex().encode() + b"\n"
            )
            store.add_pack(_counted(packed, sizes), imported=True)
    log.info("imported_history_projected", name=store.path.parent.name, commits=len(own), of=count)
    rows = [Row(number - _BEFORE, each.commit, oid) for number, (each, oid) in enumerate(zip(kept, own, strict=True))]
    if own:
        rows.append(Row(imported.position, imported.commit, own[-1]))
    return Projected(rows, sum(sizes))


def _counted(parts: Iterable[bytes], sizes: list[int]) -> Iterator[bytes]:
    for part in parts:
        sizes.append(len(part))
        yield part


def _simplified(
    trees: SliceTrees, touched: Collection[ObjectId] | None, tip: ObjectId, git: Git, objects: GitObjects, made: _New
) -> tuple[list[Kept], int]:
    """Return the slice's commits, having made their trees, and how many commits the whole history has."""

    def read(oids: Sequence[ObjectId]) -> dict[ObjectId, Tree]:
        return {oid: Tree.parse(_expect(Kind.TREE, oid, objects.read(oid))) for oid in oids}

    history = SimplifiedHistory(lambda root: trees.reduce(read, root), touched)
    number = 0
    for number, (commit, root, parents) in enumerate(history_of(git, tip), 1):  # noqa: B007 - the count
        if history.add(commit, root, parents):
            made.add_trees(trees.made())
    return history.of(tip), number


def touched_by(archive: Archive, paths: frozenset[bytes], imported: Imported) -> set[ObjectId] | None:
    """Return which imported commits may have changed something at a slice's paths; None: any of them.

    The tip is one of them: so its commit has exactly the slice's part of its tree, also where this is of another form
    than Git would give it. Costs a few look-ups for each path and each thousand commits. Raises Unavailable.
    """
    if b"/" in paths:
        return None
    touched, since = {imported.commit}, imported.position // SLOTS
    for path in paths:
        before: int | None = None
        while page := imported_commits_of(archive, path, before, MOST, since=since):
            touched.update(change.commit for change in page)
            before = page[-1].position
    return touched


def _written(kept: Sequence[Kept], objects: GitObjects, made: _New) -> list[ObjectId]:
    """Write the slice's commits; return their ids."""
    own: list[ObjectId] = []
    read = objects.read_all([each.commit for each in kept])
    for each, found in zip(kept, read, strict=True):
        _, said = commits.read(_expect(Kind.COMMIT, each.commit, found))
        # Two commits that differ outside of the slice alone may be one here.
        parents = dict.fromkeys(own[number] for number in each.parents)
        data = commits.write(each.tree, list(parents), said)
        own.append(object_id(Kind.COMMIT, data))
        made.add_commit(data, own[-1])
    return own


def _expect(kind: Kind, oid: ObjectId, found: tuple[Kind, bytes]) -> bytes:
    if found[0] != kind:
        raise CorruptObject(f"{oid.hex()} is no {kind.name.lower()}")
    return found[1]


class _New:
    """Objects that the history has not, in packs of a temporary repository.

    Git tries no deltas between objects that one pack has whole; so the trees of one commit and of the next are put into
    different ones.
    """

    def __init__(self, scratch: ScratchRepository) -> None:
        self._scratch = scratch
        self._writers = [PackWriter(), PackWriter()]
        self._turn = 0
        self._packs = 0

    def add_trees(self, trees: Mapping[ObjectId, Tree]) -> None:
        """Take the trees of a commit; those that come again cost little."""
        self._turn = 1 - self._turn
        for oid, tree in trees.items():
            self._add(self._turn, Kind.TREE, tree.encode(), oid)

    def add_commit(self, data: bytes, oid: ObjectId) -> None:
        """Take a commit."""
        self._add(0, Kind.COMMIT, data, oid)

    def _add(self, turn: int, kind: Kind, data: bytes, oid: ObjectId) -> None:
        self._writers[turn].add(kind, data, oid)
        if self._writers[turn].size >= _PACK_BYTES:
            self._flush(turn)

    def flush(self) -> None:
        """Have everything in the repository."""
        for turn in range(len(self._writers)):
            self._flush(turn)

    def _flush(self, turn: int) -> None:
        if len(self._writers[turn]):
            self._scratch.add_pack(str(self._packs), self._writers[turn])
            self._packs += 1
            self._writers[turn] = PackWriter()
