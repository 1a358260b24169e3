"""Which store a request is for, and who may have it: the gateway's only place where rights are judged.

A slice's repository is for who may read all its paths, the whole repository for who may read `/`. To all others neither
exists. Each store has the objects of its own history and no others, so no id that a client asks for needs a right; a
slice with another definition has another store.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import structlog

from app.access.caller import Caller
from app.gateway.refs import RefReader, Refs
from app.gateway.wire.protocol import Ref
from app.protocol.problems import not_found
from storage.access.policy import Right
from storage.backends import deadline
from storage.backends.redis_client import UNAVAILABLE
from storage.base.errors import Unavailable
from storage.base.ids import Seq, SliceId
from storage.base.threads import start_thread
from storage.clones.clone import Clone
from storage.clones.clones import Clones
from storage.clones.locks import Busy
from storage.projection.follow import DefinitionChanged
from storage.repository import Repository
from storage.view.snapshot import Slice

log = structlog.get_logger()

WHOLE = "-/repository"
"""How URLs call the whole repository; a slice cannot be called so."""
_MOST_KNOWN = 10_000
_TRIES = 3
_PAUSE = 0.05  # seconds
_TOUCHED = 30.0  # seconds
_LISTED = 4096  # commits that were listed lately, of each store


class CatchingUp(Unavailable):
    """The store is being made, or is far behind."""


class Store:
    """One store, with what this process knows of it. Safe for threads."""

    def __init__(self, clone: Clone) -> None:
        self.clone = clone
        self.path = clone.path
        self._refs = RefReader(clone.path)
        self._listed: OrderedDict[bytes, None] = OrderedDict()
        self._tags: tuple[Ref, ...] = ()
        self._tagged: frozenset[bytes] = frozenset()
        self._changed = threading.Condition()
        self._reached = self._wanted = Seq(0)
        self._asked = self._ended = 0  # rounds of catching up
        self._is_catching_up = False
        self._waiting = 0  # requests
        self._failure: Exception | None = None
        self._seen: object = None  # which repository has come so far
        self._until = 0.0  # when its use is to be noted again, which keeps it from being removed

    def using(self) -> AbstractContextManager[Path]:
        """Keep it from being removed, as it is. Raises Unavailable."""
        return self.clone.ready(1)

    def _identity(self) -> object:
        try:
            found = (self.path / "HEAD").stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def refs(self) -> Refs:
        """Return its refs, which a client may ask for from now on. Raises Unavailable, OSError and GitFailed."""
        refs = self._refs.read()
        with self._changed:
            if refs.tags is not self._tags:
                self._tags, self._tagged = refs.tags, frozenset(tag.oid for tag in refs.tags)
            if refs.main is not None:
                self._listed[refs.main] = None
                self._listed.move_to_end(refs.main)
                if len(self._listed) > _LISTED:
                    self._listed.popitem(last=False)
        return refs

    def has_listed(self, oids: Iterable[bytes]) -> bool:
        """Tell whether it has listed all of these lately: then it has what a client asks for."""
        with self._changed:
            return all(oid in self._listed or oid in self._tagged for oid in oids)

    def catch_up(self, seq: Seq, patience: float) -> None:
        """Bring it at least to an entry, by one thread for all who wait. Raises Unavailable, and CatchingUp.

        What is begun goes on where `patience` (seconds) is over: who asks again finds more.
        """
        known, now = self._identity(), time.monotonic()
        with self._changed:
            if known is None or known != self._seen:
                self._reached = Seq(0)  # it was deleted, and perhaps made anew
            if self._reached >= seq and now < self._until:
                return
            self._wanted = max(self._wanted, seq)
            # A round that runs has begun before this was wanted.
            needed = self._ended + (2 if self._is_catching_up else 1)
            self._asked = max(self._asked, needed)
            if not self._is_catching_up:
                start_thread("catch up", self._follow)
                self._is_catching_up = True
            self._waiting += 1
            try:
                done = self._changed.wait_for(lambda: self._reached >= seq or self._ended >= needed, patience)
            finally:
                self._waiting -= 1
            if not done:
                raise CatchingUp(f"the clone store {self.clone.folder.name} is not up to date after {patience:g} s")
            if self._reached < seq:
                raise self._failure or CatchingUp(f"the clone store {self.clone.folder.name} is behind the view")

    def _follow(self) -> None:
        failure: Exception | None
        while True:
            with self._changed:
                if self._ended >= self._asked:
                    self._is_catching_up = False
                    return
                wanted = self._wanted
            failure, reached, known = None, Seq(0), None
            try:
                reached = self.clone.catch_up(wanted)
                known = self._identity()
            except Busy as error:
                # Much is to be done, or another process is at it: how long is waited for that, each request decides.
                with self._changed:
                    is_awaited = self._waiting > 0
                if is_awaited:
                    time.sleep(_PAUSE)
                    continue
                failure = error  # the clone's own run goes on
            except UNAVAILABLE as error:
                failure = error
            except Exception as error:
                log.exception("store_failed")
                failure = error
            with self._changed:
                self._ended += 1
                self._failure, self._seen = failure, known
                self._reached, self._until = reached, time.monotonic() + _TOUCHED
                self._changed.notify_all()


class Stores:
    """Finds the store of a request. Safe for threads."""

    def __init__(self, repo: Repository, clones: Clones) -> None:
        self._repo = repo
        self._clones = clones
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[SliceId, int] | None, Store] = OrderedDict()  # None: the whole

    def find(self, who: Caller, name: str) -> Found:
        """Return the store that a name in a URL stands for. Raises a Problem (404), and Unavailable."""
        if name == WHOLE:
            if not who.reads_all:
                raise not_found("repository", name)
            return Found(name, None, self._store(None))
        slice_, applied = self._repo.view.slice_at(name)
        if slice_ is None:  # by a copy of Redis that is older than it, perhaps
            slice_, applied = self._confirmed(name)
        if slice_ is None or not who.may(Right.READ, slice_.paths):
            raise not_found("repository", name)
        return Found(name, slice_, self._store(slice_), applied)

    def _confirmed(self, name: str) -> tuple[Slice | None, Seq]:
        with self._repo.queue.consistent_read():
            return self._repo.view.slice_at(name)

    def find_current(self, who: Caller, name: str, patience: float, found: Found | None = None) -> Found:
        """Return the store with everything that the view had when this was called, or when it was `found`.

        Raises as `find` and Store.catch_up do.
        """
        for _ in range(_TRIES):
            seq = found.applied if found else None
            if found is None or seq is None:
                with deadline.budget("request_budget", self._repo.settings.request_budget):
                    seq = self._repo.view.head().applied
                found = self.find(who, name)
            try:
                found.store.catch_up(seq, patience)
            except DefinitionChanged:
                found = None  # the rights are to be judged by the new one
                continue
            return found
        raise CatchingUp

    def _store(self, slice_: Slice | None) -> Store:
        key = (slice_.id, slice_.version) if slice_ else None
        with self._lock:
            store = self._known.get(key)
            if store is None:
                clone = self._clones.of_slice(slice_) if slice_ else self._clones.whole()
                store = self._known[key] = Store(clone)
            self._known.move_to_end(key)
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
            return store


@dataclass(frozen=True, slots=True)
class Found:
    """A store that a caller may have."""

    name: str  # in the URL
    slice: Slice | None  # None: the whole repository
    store: Store
    applied: Seq | None = None  # how far the view was when it was found, as far as that is known

    def is_for(self, who: Caller) -> bool:
        """Tell whether a caller may still have it."""
        return who.reads_all if self.slice is None else who.may(Right.READ, self.slice.paths)
