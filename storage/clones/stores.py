"""The folder with all clone stores of a process, and of others: making, removing, making room."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import structlog

from storage.base.ids import Seq, SliceId, new_ulid
from storage.base.threads import start_thread
from storage.clones.locks import TEMPORARY, Busy, locked, remove, sweep

log = structlog.get_logger()

IN_USE = "in-use"
"""The file whose lock everybody shares who uses a store."""
WRITING = "writing"
"""The file whose lock has who writes to a store."""
PACKING = "packing"
"""The file whose lock has who merges packs or reads all of them, beside whoever writes."""
REPOSITORY = "repository.git"
TABLE = "ids.sqlite"
USED = "used"
"""The file that was changed when a store was used last."""
_WHOLE = "whole"
# A hundredth of the limit may be exceeded by each process.
_WORTH_A_LOOK = 100
_NOTED_EVERY = 0.1  # seconds


class _Kept(NamedTuple):
    used: float  # when somebody used it last, in seconds
    size: int  # in bytes
    path: Path


class Runs:
    """What is at work in this process: one run for each store, which whoever needs it waits for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, Future[Seq]] = {}

    def join(self, name: str, call: Callable[[], Seq]) -> tuple[Future[Seq], bool]:
        """Return the run for a store, and whether it was begun now: `call`, in a thread that has no budget.

        Raises NoThread.
        """
        with self._lock:
            if running := self._running.get(name):
                return running, False
            run: Future[Seq] = Future()
            start_thread("clone", self._run, name, call, run)
            self._running[name] = run
        return run, True

    def _run(self, name: str, call: Callable[[], Seq], run: Future[Seq]) -> None:
        result: Seq | None = None
        failed: BaseException | None = None
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            failed = error
        with self._lock:
            del self._running[name]
        if failed is not None:
            run.set_exception(failed)
        else:
            assert result is not None
            run.set_result(result)


class Stores:
    """A folder of clone stores. Safe for threads and processes."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Keep stores in `folder`, of `limit` bytes together."""
        self.folder = folder
        self._limit = limit
        self._grown: int | None = None  # bytes since this process looked for room last
        self.checked: set[str] = set()
        """Stores that are known to have followed this log; nobody restores a bucket beside running processes."""
        self.runs = Runs()
        self._noted: dict[Path, float] = {}  # when a store's use was noted last

    def path_of(self, slice_id: SliceId | None, version: int) -> Path:
        """Return where the store of the whole stands, or that of a slice as one version of its definition has it.

        Each version has a store of its own: the rights to one are not those to another.
        """
        return self.folder / (f"{slice_id}.{version}" if slice_id else _WHOLE)

    def older(self, slice_id: SliceId, version: int) -> Iterator[tuple[int, Path]]:
        """Yield the stores of earlier versions of a slice, the newest first, with their versions."""
        found = []
        for path in self.folder.glob(f"{slice_id}.*"):
            number = path.name.rpartition(".")[2]
            if number.isdigit() and int(number) < version:
                found.append((int(number), path))
        yield from sorted(found, reverse=True)

    def make(self, path: Path, fill: Callable[[Path], None]) -> None:
        """Have a store at `path`: `fill` makes it in a folder that gets this name once it is complete."""
        if path.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder, IN_USE)
        beside = self.folder / (TEMPORARY + new_ulid())
        beside.mkdir(mode=0o700)
        with locked(beside / IN_USE):
            fill(beside)
            with suppress(OSError):  # somebody else was faster
                beside.rename(path)
        if beside.exists():
            remove(beside)

    def remove(self, path: Path) -> None:
        """Remove a store that is broken, whoever uses it."""
        remove(path)

    def existing(self) -> Path:
        """Return the folder, or the one above it that is there."""
        return next(path for path in (self.folder, *self.folder.absolute().parents) if path.exists())

    def touch(self, path: Path) -> None:
        """Note that a store is used now."""
        with suppress(FileNotFoundError):
            (path / USED).touch()

    def note_use(self, path: Path) -> None:
        """Note that a store that is there is used now: once for all uses of a moment."""
        now = time.monotonic()
        if now - self._noted.get(path, 0.0) >= _NOTED_EVERY:
            self._noted[path] = now
            self.touch(path)

    def grew(self, size: int) -> None:
        """Note that a store of this process has so many bytes more; make room where these are worth a look."""
        if self._grown is None or self._grown + size >= self._limit // _WORTH_A_LOOK:
            self._grown = 0
            self.make_room()
        else:
            self._grown += size

    def make_room(self) -> None:
        """Remove those stores that were used longest ago, as long as all together take too much; none in use."""
        kept = sorted(self._kept())
        total = sum(each.size for each in kept)
        for each in kept:
            if total <= self._limit:
                return
            with suppress(Busy, FileNotFoundError), ExitStack() as locks:
                for name in (IN_USE, WRITING, PACKING):
                    locks.enter_context(locked(each.path / name))
                remove(each.path)
                total -= each.size
                log.info("clone_removed", name=each.path.name, size=each.size)

    def _kept(self) -> Iterator[_Kept]:
        for path in self.folder.iterdir():
            if path.is_dir() and not path.name.startswith(TEMPORARY):
                with suppress(FileNotFoundError):
                    yield _Kept((path / USED).stat().st_mtime, _size_of(path / REPOSITORY), path)


def _size_of(repository: Path) -> int:
    """Return the bytes of a repository's packs. What versions of a slice share counts for each of them."""
    size = 0
    for file in (repository / "objects" / "pack").iterdir():
        with suppress(FileNotFoundError):
            size += file.stat().st_size
    return size
