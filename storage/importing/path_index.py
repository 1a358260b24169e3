"""Making the index of paths of a history: which commits changed which path (storage/lookup/imported.py has its form).

Git tells the changes of each commit; they are gathered on the disk by digests of paths, and a part of them is in memory
at a time.
"""

from __future__ import annotations

import struct
import subprocess
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from storage.base.ids import ObjectId
from storage.base.progress import Progress
from storage.git.imported.git_output import ended
from storage.git.run_git import Git, GitFailed
from storage.importing.graph import index_graph
from storage.importing.tables import RowSpool
from storage.lookup.imported import COMMITS, digest_of, rows_of_path

_FILES = 256
_BUFFERED = 32 << 10
_PAIR = struct.Struct(">20sI")
_READ = 256 << 10
_SHOWN_EVERY = 1000


def index_paths(git: Git, tip: str, commits: int, folder: Path, rows: RowSpool, progress: Progress) -> None:
    """Add the rows of all commits that `tip` reaches, and of all paths that they changed. Raises GitFailed."""
    index_graph(git, tip, rows)
    pairs = _Pairs(folder)
    number = -1
    paths: set[bytes] = set()
    for commit, path in _changes(git, tip):
        if path is not None:
            paths |= _with_directories(path)
            continue
        pairs.add(paths, number)
        number, paths = number + 1, {b"/"}
        rows.add(*COMMITS.row(str(number), ObjectId(bytes.fromhex(commit.decode()))))
        if number % _SHOWN_EVERY == 0:
            progress("paths", number, commits)
    pairs.add(paths, number)
    for digest, numbers in pairs.grouped():
        for key, value in rows_of_path(digest, numbers):
            rows.add(key, value)
    progress("paths", commits, commits)


def _with_directories(path: bytes) -> set[bytes]:
    """Return a path and those of all directories above it; the one of everything is `/`, for every commit."""
    ends = [at + 1 for at, byte in enumerate(path) if byte == 0x2F]
    return {path, *(path[:end] for end in ends)}


def _changes(git: Git, tip: str) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield each commit, parents first, with None, and behind it with each path that it changed."""
    listing = git.start("rev-list", "--date-order", "--reverse", tip)
    assert listing.stdout
    with ended(listing):
        process = _started(git, listing.stdout)
        assert process.stdout
        with ended(process):
            commit = b""
            is_path = False
            for token in _tokens(process.stdout):
                if is_path:
                    yield commit, token
                    is_path = False
                elif token.startswith(b":"):
                    is_path = True
                else:
                    commit = token.strip()
                    yield commit, None
            if process.wait() or listing.wait():
                raise GitFailed("diff-tree", process.returncode or listing.returncode, "")


def _started(git: Git, stdin: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start what tells the changes of listed commits, an empty commit too; of a merge, those from all its parents."""
    return git.start(
        "diff-tree", "--stdin", "--always", "--root", "-r", "-c", "--raw", "--no-renames", "-z", stdin=stdin.fileno()
    )


def _tokens(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while data := stream.read(_READ):
        *whole, rest = (rest + data).split(b"\0")
        yield from whole


class _Pairs:
    """Digests of paths with the numbers of commits, in files by the digests' first bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._buffers = [bytearray() for _ in range(_FILES)]

    def add(self, paths: set[bytes], number: int) -> None:
        """Take the paths that a commit changed; commits come in order."""
        for path in paths:
            digest = digest_of(path)
            buffer = self._buffers[digest[0]]
            buffer += _PAIR.pack(digest, number)
            if len(buffer) >= _BUFFERED:
                self._flush(digest[0])

    def _flush(self, at: int) -> None:
        with (self._folder / f"{at:02x}").open("ab") as file:
            file.write(self._buffers[at])
        self._buffers[at].clear()

    def grouped(self) -> Iterator[tuple[bytes, array[int]]]:
        """Yield each digest with its numbers, in order."""
        for at in range(_FILES):
            self._flush(at)
            numbers: dict[bytes, array[int]] = {}
            for digest, number in _PAIR.iter_unpack((self._folder / f"{at:02x}").read_bytes()):
                numbers.setdefault(digest, array("I")).append(number)
            yield from numbers.items()
