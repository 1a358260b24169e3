"""Bringing a clone store up to date with the log.

What a catch-up brings is written in this order: objects, then rows with the position, then the branch and tags, then
how far the store has reached. So after a death in between there are objects too many, or a branch or tags that the next
catch-up puts right, and nobody takes the store for more than it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import structlog
from msgspec.structs import replace

from storage.base.errors import ViewStale
from storage.base.ids import Seq
from storage.clones import checkpoints
from storage.clones.entries import RecentEntries
from storage.clones.git_store import GitStore
from storage.clones.id_table import IdTable, Row, State, tip_of
from storage.clones.imported import project_import, rows_of_all, touched_by
from storage.clones.objects import Projector
from storage.clones.originals import Originals
from storage.git.objects import CorruptObject
from storage.git.run_git import GitFailed
from storage.log.entry import CorruptEntry, decode, digest
from storage.projection.follow import EVERYTHING, Follower, Imported, Redefined, Settled, Step, begun
from storage.projection.slice_trees import SliceTrees
from storage.repository import Repository
from storage.view.snapshot import Slice

log = structlog.get_logger()

# Commits, and bytes of commits and trees, after which a pack is written.
_PACK_COMMITS = 512
_PACK_BYTES = 16 << 20
# A larger pack counts as several.
_SMALL_PACK = 1 << 20


@dataclass(slots=True)
class CatchUp:
    """One store, and what it follows. Whoever calls holds the store's lock for writing."""

    repo: Repository
    slice: Slice | None
    git: GitStore
    table: IdTable
    entries: RecentEntries
    originals: Originals
    added: int = 0
    """Bytes of the packs that came."""

    def check(self) -> None:
        """Check that the store has followed this log, and not that of another bucket, or of another backup.

        Raises CorruptEntry, sqlite3.Error and Unavailable.
        """
        self.table.note_reached(0)  # after a power failure, what it says may be newer than the rest
        state = self.table.state()
        if state.seq:
            entry = self.repo.log.read(state.seq)
            if entry is None or digest(entry) != state.hash:
                raise CorruptEntry(f"the log has another entry {state.seq}")

    def run(self) -> Seq:
        """Bring the store to where the view is; return that.

        Raises Shrunk and DefinitionChanged, GitFailed and sqlite3.Error where the store is broken, CorruptEntry where
        it has followed another log, and Unavailable.
        """
        head = self.repo.view.head()
        if (reached := self.table.reached()) >= head.applied:
            return reached
        state = self.table.state()
        if not state.seq:
            state = self._begin()
        row = self.table.last()
        self.git.set_main(row.own if row else None)
        if self.table.are_tags_due():
            self._set_tags()
        projector = Projector(self.repo.objects, SliceTrees(state.paths) if self.slice else None)
        projector.resume(row)
        follower = self._follower(state)
        read = state.seq
        for entry, entry_hash in self.entries.follow(state.seq + 1, head.applied, state.hash):
            read = entry.seq
            for settled in follower.add(entry, entry_hash):
                imported = next((step for step in settled.steps if isinstance(step, Imported)), None)
                if imported is not None:
                    state = self._write(projector, state)
                    rows = self._take_in(projector, imported)
                projector.take(settled.steps)
                state = _behind(settled, state)
                if imported is not None:
                    state = self._write(projector, state, rows)
                elif len(projector.rows) >= _PACK_COMMITS or projector.size >= _PACK_BYTES:
                    state = self._write(projector, state)
        if read < head.applied:
            raise ViewStale("the log does not reach as far as the view")
        self._write(projector, state)
        self.table.note_reached(read)
        return read

    def _begin(self) -> State:
        """Return the state in which an empty store begins: a checkpoint's, or one of nothing."""
        start = self._first_state()
        if start is None:
            raise ViewStale("the log does not reach as far as the view")
        return checkpoints.restore(self.repo, self.slice, self.git, self.table, start) or start

    def _first_state(self) -> State | None:
        """Return the state of nothing, with the definition that the projection begins with."""
        of = self.slice
        if of is None:
            return State(paths=tuple(EVERYTHING))
        if of.version == 1:
            return State(version=1, paths=tuple(sorted(of.paths)))
        start = begun((decode(data) for _, data in self.repo.log.read_from(1)), of.id, of.version)
        return State(version=start[0], paths=tuple(sorted(start[1]))) if start else None

    def _follower(self, state: State) -> Follower:
        of = self.slice
        if of is None:
            return Follower(EVERYTHING, tip=tip_of(state))
        return Follower(frozenset(state.paths), of.id, state.version, of.version, tip_of(state))

    def _take_in(self, projector: Projector, imported: Imported) -> Iterable[Row]:
        """Have an imported history in the store, all of it or the slice's part; return its rows."""
        if self.slice is None:
            for pack in imported.packs:
                data = self.repo.bucket.get(pack + ".pack")
                self.git.add_pack([data], imported=True)
                self.added += len(data)
            tip = Row(imported.position, imported.commit, imported.commit)
            projector.resume(tip)
            return chain(rows_of_all(self.git.git, imported.commit), [tip])
        assert projector.trees is not None
        paths = projector.trees.paths
        touched = touched_by(self.repo.archive, paths, imported)
        with self.originals.opened(imported) as packs:
            try:
                made = project_import(imported, packs, paths, touched, self.git)
            except GitFailed:
                self.originals.discard(imported)
                raise
            except CorruptObject as error:
                self.originals.discard(imported)
                raise GitFailed("cat-file", 128, str(error)) from error
        self.added += made.size
        projector.resume(made.rows[-1] if made.rows else None)
        return made.rows

    def _write(self, projector: Projector, state: State, imported: Iterable[Row] | None = None) -> State:
        """Write what was taken; behind an import its rows too, and objects as they are."""
        packs = 0
        for pack in projector.packs():
            self.git.add_pack([pack], imported=imported is not None)
            packs += 1 + len(pack) // _SMALL_PACK
            self.added += len(pack)
        tags = projector.tags
        if projector.main:
            state = replace(state, main=projector.main.hex())
        self.table.add(chain(imported or (), projector.taken()), state, packs, tags)
        if imported is not None and self.slice is None:
            # Who begins without a checkpoint has the import's packs: it is as good as one.
            self.table.note_checkpoint(self.table.count())
        self.git.set_main(projector.last)
        if tags:
            self._set_tags()
        return state

    def _set_tags(self) -> None:
        """Have the table's tags as refs. One of which the object is not here cannot be shown."""
        tags = self.table.tags()
        missing = self.git.missing(tags.values())
        if missing:
            names = [name for name, oid in tags.items() if oid in missing]
            log.warning("clone_tags_missing", tags=names[:10], count=len(names))
        self.git.set_tags({name: oid for name, oid in tags.items() if oid not in missing})
        self.table.note_tags()


def _behind(settled: Settled, state: State) -> State:
    """Return the state behind a settled entry."""
    version, paths = _definition(settled.steps, state)
    return replace(
        state, seq=settled.seq, hash=settled.hash, tip=settled.tip.hex() if settled.tip else "", version=version,
        paths=paths,
    )  # fmt: skip


def _definition(steps: Sequence[Step], state: State) -> tuple[int, tuple[bytes, ...]]:
    for step in steps:
        if isinstance(step, Redefined):
            return step.version, tuple(sorted(step.paths))
    return state.version, state.paths
