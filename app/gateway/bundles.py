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
_FAILURES: tuple[type[Exception], ...] = (*UNAVAILABLE, GitFailed)


@dataclass(slots=True)
class _Last:
    main: bytes
    size: int  # bytes of the store's packs when it was made


class Bundles:
    """The bundles of one process. Safe for threads."""

    def __init__(self, answers: Answers, processes: GitProcesses, least_bytes: int) -> None:
        """`least_bytes` is the size of a store's packs below which a bundle saves nothing; 0: there are no bundles."""
        self._answers = answers
        self._processes = processes
        self._least = least_bytes
        self._lock = threading.Lock()
        self._last: dict[Path, _Last] = {}
        self._making: set[Path] = set()
        self._seen: dict[Path, bytes] = {}  # branches for which the size was looked at

    def is_there(self, store: Store) -> bool:
        """Tell whether clients should be told of a bundle."""
        last = self._last.get(store.path)
        return last is not None and self._answers.has(store.path, _key(last.main))

    def open(self, store: Store, main: bytes, who: Caller) -> IO[bytes] | Reader:
        """Return the store's bundle; where there is none, one of its present branch, as it is made for a caller.

        Raises Unavailable, GitFailed and OSError.
        """
        last = self._last.get(store.path)
        if last is None or not self._answers.has(store.path, _key(last.main)):
            last = self._last[store.path] = _Last(main, pack_bytes(store.path))
        return self._answers.open(store.path, _key(last.main), lambda: self._processes.bundle(store.path, who))

    def consider(self, store: Store, main: bytes | None) -> None:
        """Begin to make a bundle, if the store has grown enough for one."""
        if not self._least or main is None or self._seen.get(store.path) == main:
            return
        self._seen[store.path] = main
        size = pack_bytes(store.path)
        with self._lock:
            last = self._last.get(store.path)
            is_new = last is None or size >= last.size * _GROWN
            if size < self._least or not is_new or store.path in self._making:
                return
            with contextlib.suppress(NoThread):  # another time, then
                start_thread("bundle", self._make, store, _Last(main, size))
                self._making.add(store.path)

    def _make(self, store: Store, made: _Last) -> None:
        try:
            with store.using() as path:
                answer = self._answers.open(path, _key(made.main), lambda: self._processes.bundle(path))
                with contextlib.closing(answer):
                    if isinstance(answer, Reader):
                        for _ in answer:
                            pass
            self._last[store.path] = made
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
