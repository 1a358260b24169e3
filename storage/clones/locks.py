"""Locks on folders that several threads and processes use, and that anybody may delete at any moment."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.backends import deadline
from storage.base.errors import Unavailable
from storage.base.ids import new_ulid

TEMPORARY = "tmp-"
"""What names of folders begin with that are being made, or are to be removed."""

# Seconds between two tries of a lock that somebody has.
_PAUSE = 0.02
_YOUNG = 60.0  # seconds


class Busy(Unavailable):
    """Somebody else is at work on a clone store."""


@contextmanager
def locked(file: Path, *, shared: bool = False, timeout: float = 0.0) -> Iterator[None]:
    """Hold the lock of a file, which is made where it is missing and its folder is there.

    The system gives it back when the process dies. Waits so many seconds, as far as the budget allows. Raises Busy,
    FileNotFoundError where the folder is gone, and Spent.
    """
    descriptor = _acquire(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, timeout)
    try:
        yield
    finally:
        os.close(descriptor)


def _acquire(file: Path, kind: int, timeout: float) -> int:
    until = time.monotonic() + timeout
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            if _is_at(descriptor, file):
                return descriptor
        except BlockingIOError:
            if deadline.left(until - time.monotonic()) <= 0:
                os.close(descriptor)
                raise Busy from None
            time.sleep(_PAUSE)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, file: Path) -> bool:
    """Tell whether a file that is open still stands under its name: its folder may have been made anew."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), file.stat())
    return False


def remove(folder: Path) -> None:
    """Remove a folder: at once for everybody who looks, and what cannot be deleted now when somebody sweeps."""
    aside = folder.with_name(TEMPORARY + new_ulid())
    with suppress(FileNotFoundError):
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: Path, lock: str) -> None:
    """Remove what processes that died have left below `folder`; one that lives has the `lock` of its own."""
    for left in folder.glob(TEMPORARY + "*"):
        with suppress(Busy, FileNotFoundError, NotADirectoryError):
            # One that was made a moment ago may not have its lock yet.
            if time.time() - left.stat().st_mtime > _YOUNG:
                with locked(left / lock):
                    shutil.rmtree(left, ignore_errors=True)
