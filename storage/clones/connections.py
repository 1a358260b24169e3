"""Connections to files of SQLite that stay open from one read to the next: opening takes longer than reading a row.

Whoever reads has a connection alone, and gives it back. One to a file that was deleted, or that another has taken the
place of, is not used any more. It takes the disk of that file until then: it is closed by the next read of any file,
though no more often than every ten seconds.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_MOST_IDLE = 64
_LOOK_EVERY = 10.0  # seconds


class _Kept(NamedTuple):
    connection: sqlite3.Connection
    path: Path
    identity: tuple[int, int] | None  # of its file: while that is open, no other file has the same


class Connections:
    """The connections of one process. Safe for threads."""

    def __init__(self, open_file: Callable[[Path], sqlite3.Connection]) -> None:
        """`open_file` opens a file and reads something of it; another thread may use what it returns."""
        self._open_file = open_file
        self._idle: OrderedDict[int, _Kept] = OrderedDict()  # by the id of the connection, the oldest first
        self._lock = threading.Lock()
        self._looked = 0.0
        self._parents: list[OrderedDict[int, _Kept]] = []
        os.register_at_fork(after_in_child=self._leave_to_parent)

    @contextmanager
    def reading(self, path: Path) -> Iterator[sqlite3.Connection]:
        """Have a connection to a file that is there. Raises sqlite3.Error."""
        kept = self._taken(path) or self._opened(path)
        try:
            yield kept.connection
        except BaseException:
            kept.connection.close()
            raise
        self._give_back(kept)

    def _leave_to_parent(self) -> None:
        # SQLite forbids to use, and even to close, what was opened before a fork.
        self._parents.append(self._idle)
        self._idle, self._lock = OrderedDict(), threading.Lock()

    def _taken(self, path: Path) -> _Kept | None:
        identity = _identity(path)
        with self._lock:
            found = next((key for key, kept in reversed(self._idle.items()) if kept.path == path), None)
            kept = None if found is None else self._idle.pop(found)
        if kept is not None and kept.identity != identity:
            kept.connection.close()
            return None
        return kept

    def _opened(self, path: Path) -> _Kept:
        before = _identity(path)
        connection = self._open_file(path)
        # Where another file has come in between, nobody knows which of them this is: it is used once.
        return _Kept(connection, path, before if before == _identity(path) else None)

    def _give_back(self, kept: _Kept) -> None:
        if kept.identity is None:
            kept.connection.close()
            return
        with self._lock:
            self._idle[id(kept.connection)] = kept
            gone = [self._idle.popitem(last=False)[1]] if len(self._idle) > _MOST_IDLE else []
            if time.monotonic() - self._looked > _LOOK_EVERY:
                self._looked = time.monotonic()
                moved = [key for key, each in self._idle.items() if _identity(each.path) != each.identity]
                gone += [self._idle.pop(key) for key in moved]
        for each in gone:
            each.connection.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
