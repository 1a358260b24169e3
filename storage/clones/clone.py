"""One clone store: a bare repository that follows the log, for a slice or for the whole.

Its folder has the repository, the table of ids, and two locks (storage/clones/stores.py). A store that is wrong in any
way that a catch-up does not put right is removed and made again.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import structlog

from storage.backends import deadline
from storage.backends.redis_client import UNAVAILABLE
from storage.base.errors import Corrupt, Unavailable, ViewStale
from storage.base.ids import ChangesetId, ObjectId, Seq
from storage.clones import checkpoints
from storage.clones.catch_up import CatchUp
from storage.clones.entries import RecentEntries
from storage.clones.git_store import GitStore
from storage.clones.id_table import IdTable
from storage.clones.locks import Busy, locked
from storage.clones.originals import Originals
from storage.clones.stores import IN_USE, PACKING, REPOSITORY, TABLE, USED, WRITING, Stores
from storage.git.objects import CorruptObject, Kind
from storage.git.run_git import GitFailed, says_disk_full
from storage.git.trailers import CHANGESET_ID, changeset_of_old, trailers
from storage.log.entry import CorruptEntry, log_position
from storage.lookup.object_store import ObjectMissing
from storage.projection.commits import read as read_commit
from storage.projection.follow import Shrunk
from storage.repository import Repository
from storage.view.snapshot import Slice

log = structlog.get_logger()

# What says that a store is broken.
_BROKEN = (GitFailed, sqlite3.Error, CorruptEntry, FileNotFoundError, NotADirectoryError)
_UPKEEP_FAILED: tuple[type[Exception], ...] = (*UNAVAILABLE, Corrupt, GitFailed, sqlite3.Error)
# Git could not be started, or was ended: the machine has no memory or no processes left, say.
_NOT_RUN = (127, -signal.SIGKILL, -signal.SIGTERM)
_SQLITE_FULL = "disk is full"
# With less room than this a disk is full, whatever Git and SQLite say.
_LEAST_ROOM = 1 << 20
_TRIES = 3


class StoreBroken(Unavailable):
    """A clone store could not be made or brought up to date."""


class DiskFull(Unavailable):
    """The disk with the clone stores is full."""


class Clone:
    """A clone store. Safe for threads and processes."""

    def __init__(self, repo: Repository, stores: Stores, entries: RecentEntries, of: Slice | None) -> None:
        """Open the store of a slice as `of` defines it, or of the whole. No I/O: it may not be there yet."""
        self._repo = repo
        self._stores = stores
        self._entries = entries
        self.slice = of
        self.folder = stores.path_of(of.id, of.version) if of else stores.path_of(None, 0)
        self.path = self.folder / REPOSITORY
        """The bare repository. `refs/heads/main` is the newest commit that has landed; absent where there is none."""
        self._git = GitStore(self.path)
        self._table = IdTable(self.folder / TABLE)
        self._upkeep: threading.Thread | None = None

    # --- Following the log --------------------------------------------------------------------------------------------

    @contextmanager
    def ready(self, seq: int = 0) -> Iterator[Path]:
        """Have everything that had landed at entry `seq`, which the view has; yield `path`, which stays as long.

        Raises as `catch_up` does.
        """
        with ExitStack() as use:
            for _ in range(_TRIES):
                self.catch_up(seq)
                with suppress(FileNotFoundError):  # it was removed in between
                    use.enter_context(self._in_use())
                    break
            else:
                raise StoreBroken(f"the clone store {self.folder.name} is removed again and again")
            yield self.path

    def catch_up(self, seq: int = 0) -> Seq:
        """Have everything that had landed at entry `seq`, which the view has (0: at the view's newest one).

        Returns up to which entry nothing is missing but what had not landed. The work is done beside the caller: it
        goes on where that has waited for `clone_wait` seconds, or as long as its budget allows, and gets Busy. Raises
        DefinitionChanged where the slice is not what `slice` says, so that the rights to it have to be judged again;
        DiskFull, StoreBroken, and what else is Unavailable.
        """
        reached = self._table.reached()
        if seq and reached >= seq and self.folder.name in self._stores.checked:
            self._stores.note_use(self.folder)
            return reached
        until = time.monotonic() + deadline.left(self._repo.settings.clone_wait)
        while True:
            run, is_ours = self._stores.runs.join(self.folder.name, self._bring_up)
            try:
                reached = run.result(max(0.0, until - time.monotonic()))
            except TimeoutError:
                if not run.done():
                    raise Busy(f"the clone store {self.folder.name} is being made") from None
                reached = run.result()  # it ended just now, or by a TimeoutError of its own
            if reached >= seq:
                return reached
            if is_ours:  # another's may have begun before the view had that entry
                raise ViewStale("the view has gone back")

    def discard(self) -> None:
        """Remove the store, since Git found it damaged: the next catch-up makes it again."""
        log.warning("clone_broken", name=self.folder.name, reason="Git could not read it")
        self._stores.remove(self.folder)

    def _bring_up(self) -> Seq:
        fresh = False
        for _ in range(_TRIES):
            try:
                return self._caught_up(fresh)
            except Shrunk:
                fresh = True  # the store was begun from an older version's
                self._stores.remove(self.folder)
            except _BROKEN as error:
                self._check_room(error)
                if isinstance(error, GitFailed) and error.status in _NOT_RUN:
                    raise StoreBroken(f"the clone store {self.folder.name} waits for Git: {error}") from error
                log.warning("clone_broken", name=self.folder.name, reason=str(error))
                fresh = True  # what is broken may be the older one's
                self._stores.remove(self.folder)
            except OSError as error:  # a full disk, or a server that is away
                self._check_room(error)
                raise
        raise StoreBroken(f"the clone store {self.folder.name} cannot be made")

    def _caught_up(self, fresh: bool) -> Seq:
        self._stores.make(self.folder, lambda folder: self._make(folder, fresh))
        with self._in_use():
            self._stores.touch(self.folder)
            with locked(self.folder / WRITING, timeout=self._repo.settings.clone_wait):
                with suppress(Busy), locked(self.folder / PACKING):
                    self._git.clean()
                catch_up = CatchUp(
                    self._repo, self.slice, self._git, self._table, self._entries, Originals(self._repo, self._stores)
                )  # fmt: skip
                if self.folder.name not in self._stores.checked:
                    catch_up.check()
                    self._stores.checked.add(self.folder.name)
                reached = catch_up.run()
            self._stores.grew(catch_up.added)  # while this one is in use, and stays
        if catch_up.added:
            self._upkeep = threading.Thread(target=self._keep_beside, name="clone-upkeep", daemon=True)
            self._upkeep.start()
        return reached

    def _make(self, folder: Path, fresh: bool) -> None:
        """Make the store in a folder: from an older version's where it has no path that this one has not."""
        git, table = GitStore(folder / REPOSITORY), IdTable(folder / TABLE)
        git.create()
        (folder / USED).touch()
        if self.slice and not fresh:
            for version, older in self._stores.older(self.slice.id, self.slice.version):
                with suppress(Busy, FileNotFoundError), locked(older / WRITING), locked(older / PACKING):
                    git.copy_packs(GitStore(older / REPOSITORY))
                    table.copy(IdTable(older / TABLE))
                    log.info("clone_copied", name=self.folder.name, version=version)
                    return
        table.create()

    def _check_room(self, error: Exception) -> None:
        """Raise DiskFull where that is what an error comes from: a store is not to be blamed for it."""
        text = str(error)
        free = shutil.disk_usage(self._stores.existing()).free
        if free < _LEAST_ROOM or says_disk_full(text) or _SQLITE_FULL in text:
            raise DiskFull(f"the disk of {self._stores.folder} is full: {text}") from error

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        with locked(self.folder / IN_USE, shared=True, timeout=self._repo.settings.clone_wait):
            yield

    # --- Upkeep -------------------------------------------------------------------------------------------------------

    def _keep_beside(self) -> None:
        try:
            self.keep()
        except _UPKEEP_FAILED as error:
            log.warning("clone_upkeep_failed", name=self.folder.name, reason=str(error))

    def wait(self) -> None:
        """Wait for the upkeep that the last catch-up of this object has begun."""
        if self._upkeep:
            self._upkeep.join()

    def keep(self) -> None:
        """Merge packs, and write a checkpoint, where it is time to and nobody else is at it; catch-ups go on meanwhile.

        The store does this by itself behind a catch-up. Raises GitFailed, sqlite3.Error and Unavailable.
        """
        # Who finds it removed has nothing to keep.
        with suppress(Busy, FileNotFoundError), self._in_use(), locked(self.folder / PACKING):
            packs = self._table.packs()
            if packs >= self._repo.settings.clone_packs:
                self._git.repack()
                self._table.merged(packs)
            if checkpoints.is_due(self._repo, self._table):
                checkpoints.write(self._repo, self.slice.id if self.slice else None, self._git, self._table)

    # --- Which commit is which ----------------------------------------------------------------------------------------

    def chain_of(self, own: ObjectId) -> ObjectId | None:
        """Return the commit of the chain that a commit of this store stands for; None for what is none of its commits.

        The slice's part of that commit's tree is the tree of this one. Raises StoreBroken where there is no store.
        """
        with self._reading():
            row = self._table.of_own(own)
        return row.chain if row else None

    def projected(self, chain: ObjectId) -> ObjectId | None:
        """Return this store's commit at or before a commit of the chain, which has the slice's part of its tree.

        None where it is no commit of the chain, where the store has not come so far, and where the slice had nothing
        yet. Raises StoreBroken where there is no store, and Unavailable.
        """
        with self._reading():
            row = self._table.of_chain(chain)
            if row is None:
                position = self._position(chain)
                if position is not None and position < self._table.state().end:
                    row = self._table.at(position)
        return row.own if row else None

    def _position(self, chain: ObjectId) -> int | None:
        """Return where a commit of the chain stands in the log, None for any other object."""
        try:
            kind, data = self._repo.objects.read(chain)
            if kind != Kind.COMMIT:
                return None
            _, said = read_commit(data)
        except (ObjectMissing, CorruptObject):
            return None
        message = said.message.decode(errors="replace")
        named = [value for name, value in trailers(message) if name == CHANGESET_ID]
        changeset = named[-1] if named else changeset_of_old(message)
        outcome = self._repo.outcome(ChangesetId(changeset)) if changeset else None
        if outcome is None or outcome.commit != chain.hex():
            return None
        return log_position(outcome.seq, outcome.index)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreBroken(f"the clone store {self.folder.name} is not there") from error
