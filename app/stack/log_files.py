"""Rotation of the log files of `sluice up`, while the processes that write to them run on.

A process has its file open, so the file is copied and emptied, and keeps its name; what a process writes in the
moment in between is lost. Lines are whole: each is one write, at the end of the file.
"""

import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from storage.base.settings import Settings

# Seconds between two looks at the sizes.
_LOOK_EVERY = 2.0


@dataclass(frozen=True, slots=True)
class Rotation:
    """How large log files become, and how many older ones are kept of each."""

    most_bytes: int = Settings.log_file_bytes
    kept: int = Settings.log_files

    def apply(self, file: Path) -> bool:
        """Move what a file has into an older one if it is too large; tell whether that was done."""
        if not file.exists() or file.stat().st_size <= self.most_bytes:
            return False
        for number in range(self.kept, 1, -1):
            younger = _older(file, number - 1)
            if younger.exists():
                younger.replace(_older(file, number))
        with file.open("r+b") as output:
            if self.kept:
                with _older(file, 1).open("wb") as copy:
                    shutil.copyfileobj(output, copy)
            output.truncate(0)
        return True


ROTATION = Rotation()
"""By the defaults of the settings."""


def _older(file: Path, number: int) -> Path:
    return file.with_suffix(f".{number}{file.suffix}")


def log_files_of(file: Path) -> list[Path]:
    """Return a log file behind the older ones of its process, the oldest first."""
    older = file.parent.glob(f"{file.stem}.[0-9]*{file.suffix}")
    return [*sorted(older, key=lambda each: -int(each.suffixes[-2][1:])), file]


class Rotating:
    """A thread that rotates files for as long as it is not ended."""

    def __init__(self, rotation: Rotation, files: Callable[[], Iterable[Path]]) -> None:
        """`files` is asked again at each look."""
        self._rotation = rotation
        self._files = files
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def runs(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="rotate logs", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """End it."""
        self._over.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_LOOK_EVERY):
            for file in self._files():
                self._rotation.apply(file)
