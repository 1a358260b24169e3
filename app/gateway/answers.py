"""Answers that several clients may want: each is made once, into a file, which all of them read while it grows.

A depth 1 clone costs upload-pack ten times a full one, and whoever runs many clients runs them at the same commit. What
a request of one store is answered is fixed by the request, so the bytes that were sent once can be sent again. Files
are bounded together, least used first out; an answer that is larger than a share of that is sent, and not kept. The
folder may be deleted at any moment: then answers are made anew.

Each store has a folder of its own here, by what the file system calls it: a store that was made anew, perhaps of other
paths, never gets an answer of the one before it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import IO

import structlog

from app.gateway.git_processes import GitProcess
from storage.base.errors import Unavailable
from storage.base.threads import start_thread
from storage.clones.locks import Busy, locked

log = structlog.get_logger()

_PIECE = 256 << 10
_MOVED = 1 << 20  # bytes that are moved from a pipe to a file at once
_SHARE = 4  # one answer is kept if it is not above this part of all
_MOST_FILES = 50_000
_STARTERS = 64


class Broken(Unavailable):
    """An answer ended in the middle."""


class Full(Unavailable):
    """The answers that clients are still reading take as much disk as all that are kept may."""


def cut() -> BrokenPipeError:
    """Return what closes a client's connection in the middle of an answer: it must not take that for the whole."""
    return BrokenPipeError(errno.EPIPE, "the answer ended in the middle")


class Answer:
    """One answer that is being made, or was: a file that grows, and its readers."""

    def __init__(self, file: IO[bytes], process: GitProcess) -> None:
        self._file = file
        self._process = process
        self._changed = threading.Condition()
        self._written = 0
        self._readers = 1  # who asked for it first
        self._over = False
        self._failed = False

    @property
    def size(self) -> int:
        """The bytes that there are by now."""
        return self._written

    @property
    def is_gone(self) -> bool:
        """Whether nobody reads or writes it any more."""
        return self._file.closed

    def make(self) -> bool:
        """Write the process's output to its end; tell whether it is complete, and Git was content with it."""
        status, failure = -1, ""
        try:
            while moved := os.splice(self._process.output, self._file.fileno(), _MOVED, offset_dst=self._written):
                with self._changed:
                    self._written += moved
                    self._changed.notify_all()
        except OSError as error:
            failure = error.strerror or str(error)
            log.warning("answer_not_kept", reason=failure)
            self._process.kill()
        finally:
            status = self._process.finish()
            with self._changed:
                self._over = True
                # Git that refuses a request ends with a status too, behind its words to the client.
                self._failed = bool(failure) or status < 0
                self._changed.notify_all()
                self._close_unread()
        return status == 0 and not failure

    def enter(self) -> bool:
        """Count one more reader; False where it is given up, since nobody read it."""
        with self._changed:
            if not self._readers:
                return False
            self._readers += 1
            return True

    def leave(self) -> None:
        """Count one less; what nobody reads is not made to its end."""
        with self._changed:
            self._readers -= 1
            self._close_unread()
            if self._readers or self._over:
                return
        self._process.kill()

    def _close_unread(self) -> None:
        if self._over and not self._readers:
            self._file.close()

    def begin(self) -> None:
        """Wait until there is something, or all there is. Raises Broken where it has failed without anything."""
        with self._changed:
            self._changed.wait_for(lambda: self._written or self._over)
            if self._failed and not self._written:
                raise Broken

    def piece(self, at: int, is_cut: Callable[[], bool]) -> bytes:
        """Return what stands from a byte on, as soon as there is some, nothing at the end.

        Raises BrokenPipeError where it ends in the middle, and where its reader `is_cut`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._written > at or self._over or is_cut())
            if is_cut():
                raise cut()
            if self._written == at:
                if self._failed:
                    raise cut()
                return b""
        piece = os.pread(self._file.fileno(), _PIECE, at)
        if not piece:  # somebody has cut the file
            raise cut()
        return piece

    def wake(self) -> None:
        """Have all readers look whether they are cut."""
        with self._changed:
            self._changed.notify_all()


class Reader:
    """One reader of an answer: iterate, and close."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._is_closed = self._is_cut = False

    def begin(self) -> None:
        """Wait until there is something, or all there is. Raises Broken where it has failed without anything."""
        self._answer.begin()

    def __iter__(self) -> Iterator[bytes]:
        """Yield it as it comes. Raises BrokenPipeError where it ends in the middle."""
        at = 0
        while piece := self._answer.piece(at, lambda: self._is_cut):
            at += len(piece)
            yield piece

    def abort(self) -> None:
        """Have whoever iterates end, from another thread."""
        self._is_cut = True
        self._answer.wake()

    def close(self) -> None:
        """Read no more."""
        if not self._is_closed:
            self._is_closed = True
            self._answer.leave()


class Answers:
    """The answers of one process, below a folder that is emptied at its start. Safe for threads."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder
        self._most = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Path, int] = OrderedDict()  # sizes of files, least used first
        self._bytes = 0
        self._making: dict[Path, Answer] = {}
        self._read: set[Answer] = set()  # all that are being made or read
        self._large: set[Path] = set()  # what is not worth a second try
        self._starting = [threading.Lock() for _ in range(_STARTERS)]
        self._numbers = count()

    @property
    def kept_bytes(self) -> int:
        """The size of all files that are kept."""
        return self._bytes

    def is_worth(self, store: Path, key: str) -> bool:
        """Tell whether an answer could be kept, as far as is known. Raises OSError where there is no store."""
        return self._most > 0 and self._path(store, key) not in self._large

    def has(self, store: Path, key: str) -> bool:
        """Tell whether an answer is kept. Raises OSError where there is no store."""
        return self._path(store, key) in self._kept

    def open(self, store: Path, key: str, start: Callable[[], GitProcess]) -> IO[bytes] | Reader:
        """Return an answer that was made, as a file, or one that is being made, by the process that `start` returns.

        Raises what `start` raises, OSError where there is no store, or no file can be made, Full and NoThread.
        """
        path = self._path(store, key)
        found = self._find(path)
        if found is not None:
            return found
        with self._starting[hash(path) % len(self._starting)]:  # who comes meanwhile finds what was begun
            found = self._find(path)
            if found is None:
                self._check_room()
            return found if found is not None else self._begin(path, start)

    def _check_room(self) -> None:
        """Raise Full where too much is read slowly: what is too large to be kept takes disk until it was read, too."""
        with self._lock:
            self._read = {answer for answer in self._read if not answer.is_gone}
            if sum(answer.size for answer in self._read) > self._most:
                raise Full

    def _find(self, path: Path) -> IO[bytes] | Reader | None:
        with self._lock:
            making = self._making.get(path)
            if making is not None and making.enter():
                return Reader(making)
            if path not in self._kept:
                return None
            self._kept.move_to_end(path)
            try:
                return path.open("rb", buffering=0)
            except OSError:  # the folder was deleted
                self._forget(path)
                return None

    def _begin(self, path: Path, start: Callable[[], GitProcess]) -> Reader:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_suffix(f".{next(self._numbers)}")
        file = written.open("w+b", buffering=0)
        process = None
        try:
            process = start()
            answer = Answer(file, process)
            with self._lock:
                start_thread("answer", self._run, path, written, answer)
                self._making[path] = answer
                self._read.add(answer)
        except BaseException:
            if process:
                process.kill()
                process.finish()
            file.close()
            written.unlink()
            raise
        return Reader(answer)

    def _run(self, path: Path, written: Path, answer: Answer) -> None:
        is_good = answer.make()
        with self._lock:
            if self._making.get(path) is answer:  # else it was given up, and begun anew
                del self._making[path]
            if not (is_good and self._keep(path, written, answer.size)):
                with contextlib.suppress(OSError):
                    written.unlink()

    def _keep(self, path: Path, written: Path, size: int) -> bool:
        if size > self._most // _SHARE:
            if len(self._large) < _MOST_FILES:
                self._large.add(path)
            return False
        old = self._kept.pop(path, 0)  # where the same was made twice
        self._bytes -= old
        try:
            written.rename(path)
        except OSError:  # the folder was deleted
            return False
        self._kept[path] = size
        self._bytes += size
        while self._bytes > self._most or len(self._kept) > _MOST_FILES:
            self._forget(next(iter(self._kept)))
        return True

    def _forget(self, path: Path) -> None:
        self._bytes -= self._kept.pop(path)
        with contextlib.suppress(OSError):
            path.unlink()

    def _path(self, store: Path, key: str) -> Path:
        known = store.stat()
        head = (store / "HEAD").stat()
        name = f"{store}\n{known.st_dev}\n{known.st_ino}\n{head.st_ino}\n{head.st_mtime_ns}"
        return self._folder / hashlib.sha256(name.encode()).hexdigest()[:32] / key


def own_folder(folder: Path) -> Path:
    """Return a folder below another one that is this process's own until it ends: several gateways may share a disk."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in count():
        lock = os.open(folder / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        _remove_left(folder)
        return folder / str(number)  # the lock ends with the process
    raise AssertionError


def _remove_left(folder: Path) -> None:
    """Remove what processes have left whose number nobody has now."""
    for file in folder.glob("*.lock"):
        with contextlib.suppress(Busy, OSError), locked(file):
            shutil.rmtree(file.with_suffix(""), ignore_errors=True)
