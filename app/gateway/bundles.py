"""Bundles: a store's whole branch as one file, for clients that ask for one before they fetch the rest.

One is made in the background when a store has grown by a quarter since the last one, and kept as other answers are.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import structlog
from cachetools import LRUCache

from app.access.caller import Caller
from app.gateway.answers import Answers, Reader
from app.gateway.git_processes import GitProcesses
from app.gateway.stores import Store
from storage.backends.redis_client import UNAVAILABLE
from storage.base.threads import NoThread, start_thread
from storage.git.run_git import GitFailed

log = structlog.get_logger()

NAME = "clone.bundle"
_GROWN = 1.25
_MOST_KNOWN = 10_000  # stores
_FAILURES: tuple[type[Exception], ...] = (*UNAVAILABLE, GitFailed)


@dataclass(frozen=True, slots=True)
class _Last:
    main: bytes
    size: int  # bytes of the store's packs when it was made


@dataclass(slots=True)
class _Known:
    """What is known of a store's bundles; where it is forgotten, they are made anew."""

    last: _Last | None = None
    seen: bytes = b""  # the branch for which the size was looked at


class Bundles:
    """The bundles of one process. Safe for threads."""

    def __init__(
        self, answers: Answers, processes: GitProcesses, least_bytes: int, most_known: int = _MOST_KNOWN
    ) -> None:
        """`least_bytes` is the size of a store's packs below which a bundle saves nothing; 0: there are no bundles.

        Of `most_known` stores something is known, of those that were asked for last.
        """
        self._answers = answers
        self._processes = processes
        self._least = least_bytes
        self._lock = threading.Lock()
        self._known: LRUCache[Path, _Known] = LRUCache(most_known)
        self._making: set[Path] = set()

    @property
    def count(self) -> int:
        """Of how many stores it knows something."""
        return len(self._known)

    def is_there(self, store: Store) -> bool:
        """Tell whether clients should be told of a bundle."""
        last = self._last(store.path)
        return last is not None and self._answers.has(store.path, _key(last.main))

    def open(self, store: Store, main: bytes, who: Caller) -> IO[bytes] | Reader:
        """Return the store's bundle; where there is none, one of its present branch, as it is made for a caller.

        Raises Unavailable, GitFailed and OSError.
        """
        last = self._last(store.path)
        if last is None or not self._answers.has(store.path, _key(last.main)):
            last = _Last(main, pack_bytes(store.path))
            self._remember(store.path, last)
        return self._answers.open(store.path, _key(last.main), lambda: self._processes.bundle(store.path, who))

    def consider(self, store: Store, main: bytes | None) -> None:
        """Begin to make a bundle, if the store has grown enough for one."""
        if not self._least or main is None:
            return
        with self._lock:
            known = self._of(store.path)
            if known.seen == main:
                return
            known.seen = main
        size = pack_bytes(store.path)
        with self._lock:
            last = known.last
            is_new = last is None or size >= last.size * _GROWN
            if size < self._least or not is_new or store.path in self._making:
                return
            with contextlib.suppress(NoThread):  # another time, then
                start_thread("bundle", self._make, store, _Last(main, size))
                self._making.add(store.path)

    def _of(self, path: Path) -> _Known:
        """Return what is known of a store, to be called with the lock."""
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = _Known()
        return known

    def _last(self, path: Path) -> _Last | None:
        with self._lock:
            known = self._known.get(path)
            return known.last if known else None

    def _remember(self, path: Path, last: _Last) -> None:
        with self._lock:
            self._of(path).last = last

    def _make(self, store: Store, made: _Last) -> None:
        try:
            with store.using() as path:
                answer = self._answers.open(path, _key(made.main), lambda: self._processes.bundle(path))
                with contextlib.closing(answer):
                    if isinstance(answer, Reader):
                        for _ in answer:
                            pass
            self._remember(store.path, made)
            log.info("bundle_made", bytes=made.size)
        except _FAILURES as error:
            log.info("bundle_not_made", reason=str(error))
        finally:
            with self._lock:
                self._making.discard(store.path)


def pack_bytes(store: Path) -> int:
    """Return the size of a store's packs."""
    total = 0
    for pack in (store / "objects" / "pack").glob("*.pack"):
        with contextlib.suppress(FileNotFoundError):  # it was merged with others
            total += pack.stat().st_size
    return total


def _key(main: bytes) -> str:
    return f"bundle-{main.decode()}"
