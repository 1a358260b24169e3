"""The folder into which one push is received: its objects, beside those of the slice's clone store, and nobody else's.

Git's index-pack writes there what the client sends, and resolves its deltas against the push itself and the store of
the same slice. So a delta against another slice's blob, or a tree that names it, is one whose object is missing: the
chain's objects are nowhere near. The folder is deleted with the push, or when the next process of this kind starts.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from app.gateway.receive.received import ContentTooLarge, NotComplete, Received, StoreGone, identity_of
from storage.base.errors import Refused, Unavailable
from storage.base.ids import ObjectId
from storage.git.objects import Kind
from storage.git.run_git import Git, end_process, isolated_environment, says_disk_full

MAIN = "refs/heads/main"
_PREFIX = "push-"
_HEAD_BYTES = 12  # of a pack
_EMPTY = b"\0\0\0\0"
INDEXING_BYTES = 1 << 30
"""Of memory, for the process that indexes a pack: it holds each commit, tree and delta as a whole, and a pack of few
bytes may have one of any size."""
# Files that are gone, and new ones, at most: each of these is compared with each of those. With more Git finds only
# those that are the same. The seconds are for all commits of a push together.
_RENAMES, _RENAME_SECONDS = 400, 10.0
_KINDS = {b"commit": Kind.COMMIT, b"tree": Kind.TREE, b"blob": Kind.BLOB}
_NO_MEMORY = "Out of memory"
_FOLDERS = re.compile(r"(?<![\w.])/(?:[^/\s'\"]+/)*")


class TooLarge(Refused):
    """The pack is larger than a push may be."""


class NoRoom(Unavailable):
    """The disk for pushes is full."""


class RenamesTakeLong(Refused):
    """Git does not find in time what was renamed."""


def left_in(folder: Path) -> list[Path]:
    """Return the folders of pushes that are there when a process starts."""
    return list(folder.glob(f"{_PREFIX}*"))


def remove_left(folders: Iterable[Path]) -> list[Path]:
    """Remove those of `left_in` whose processes are gone, and return the others."""
    living = []
    for left in folders:
        owner = left.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and _lives(int(owner)):
            living.append(left)
        else:
            shutil.rmtree(left, ignore_errors=True)
    return living


def _lives(process: int) -> bool:
    if process == os.getpid():
        return False  # an earlier one of this number: this one had nothing yet
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Incoming(Received):
    """The objects of one push, in its folder."""

    def __init__(self, folder: Path, store: Path) -> None:
        """Make it below `folder`; `store` is the bare repository of the slice, whose objects count as there."""
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=folder))
        (self.folder / "pack").mkdir()
        environment = isolated_environment(store) | {
            "GIT_OBJECT_DIRECTORY": str(self.folder),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(store / "objects"),
        }
        self._git = Git(environment=environment)
        self._store, self._identity = store, identity_of(store)
        self._indexing: _Indexing | None = None
        self._looking: subprocess.Popen[bytes] | None = None
        self._reader: _Reader | None = None
        self._rename_seconds = _RENAME_SECONDS

    def remove(self) -> None:
        """End its processes, and delete everything."""
        if self._indexing:
            self._indexing.end()
        if self._reader:
            self._reader.end()
        if self._looking:
            end_process(self._looking)
        shutil.rmtree(self.folder, ignore_errors=True)

    def take(self, pieces: Iterator[bytes], most: int) -> None:
        """Read a pack, of `most` bytes at most. What Git says of it, `check` tells. Raises GitFailed and TooLarge.

        The rest is left unread where Git does not want it.
        """
        self._reader = _Reader(self._git)  # it is ready when the pack is
        head = b""
        while len(head) < _HEAD_BYTES and (piece := next(pieces, b"")):
            head += piece
        if head[:4] == b"PACK" and head[8:12] == _EMPTY:
            return  # of what the store has: there is nothing to index
        self._indexing = _Indexing(self._git, most)
        size = 0
        for piece in _chain(head, pieces):
            size += len(piece)
            if size > most:
                raise TooLarge(f"the pack has more than {most} bytes (max_push_bytes)")
            if not self._indexing.write(piece):
                break

    def finish(self, tips: Iterable[ObjectId]) -> None:
        """Wait until the pack is indexed, and begin to look whether all that these commits reach is there.

        Raises NotComplete, NoRoom and GitFailed.
        """
        if self._indexing:
            self._indexing.finish()
        self._looking = self._git.start(
            "rev-list", "--objects", "--stdin", "--not", "--all", "--quiet", stdin=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert self._looking.stdin
        with suppress(BrokenPipeError):
            self._looking.stdin.write("".join(f"{tip.hex()}\n" for tip in tips).encode())
            self._looking.stdin.close()

    def check(self) -> None:
        """Wait until it is known that everything is there: here, or in the slice's store. Raises NotComplete."""
        assert self._looking and self._looking.stdout
        said = self._looking.stdout.read()
        if self._looking.wait():
            raise NotComplete(f"objects are missing: {_last_line(said.decode(errors='replace'))}")

    def check_store(self) -> None:
        """Raise StoreGone where the store is not the one any more that the push was to be read with.

        It may be deleted at any moment: then what the push lacks is not its fault.
        """
        if self._identity is None or identity_of(self._store) != self._identity:
            raise StoreGone

    def merge_base(self, tip: ObjectId) -> ObjectId | None:
        """Return the best common ancestor of a commit and the branch, None where there is none. Raises GitFailed."""
        found = self._git.run("merge-base", tip.hex(), MAIN, accept=(0, 1)).stdout.decode().strip()
        return ObjectId(bytes.fromhex(found)) if found else None

    def _find_renamed(self, old: ObjectId, new: ObjectId) -> dict[bytes, bytes]:
        began = time.monotonic()
        arguments = ("diff-tree", "-r", "-z", "--raw", "-M", f"-l{_RENAMES}", "--diff-filter=R", "--no-abbrev")
        try:
            done = self._git.run(*arguments, old.hex(), new.hex(), timeout=max(0.0, self._rename_seconds))
        except subprocess.TimeoutExpired:
            raise RenamesTakeLong(
                f"to find what was renamed takes more than {_RENAME_SECONDS:g} s: push with -o moves=exact"
            ) from None
        finally:
            self._rename_seconds -= time.monotonic() - began
        fields = done.stdout.split(b"\0")[:-1]
        return dict(zip(fields[2::3], fields[1::3], strict=True))

    def _read(self, oid: ObjectId, kind: Kind, most: int) -> bytes:
        if self._reader is None:
            self._reader = _Reader(self._git)
        return self._reader.read(oid, kind, most)


def _chain(head: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from pieces


class _Indexing:
    """A running index-pack."""

    def __init__(self, git: Git, most: int) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - `end` closes it
        self._running = git.start(
            # The folder lives no longer than this process: nothing of it is worth waiting for a disk.
            "-c", "core.fsync=none", "index-pack", "--stdin", "--fix-thin", "--strict", f"--max-input-size={most}",
            stdin=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        # Before it is given anything; by a limit of this process's own it would be started more slowly.
        resource.prlimit(self._running.pid, resource.RLIMIT_DATA, (INDEXING_BYTES, INDEXING_BYTES))

    def write(self, piece: bytes) -> bool:
        """Give it more, and tell whether it wants any."""
        assert self._running.stdin
        try:
            self._running.stdin.write(piece)
            return True
        except BrokenPipeError:
            return False  # it has ended: `finish` says why

    def finish(self) -> None:
        """Wait for its end. Raises NotComplete and NoRoom."""
        assert self._running.stdin and self._running.stdout
        with suppress(BrokenPipeError):
            self._running.stdin.close()
        self._running.stdout.read()
        if self._running.wait() == 0:
            return
        self._errors.seek(0)
        said = self._errors.read(8192).decode(errors="replace")
        if says_disk_full(said):
            raise NoRoom
        if _NO_MEMORY in said:
            raise NotComplete(f"an object is too large to be indexed within {INDEXING_BYTES >> 20} MiB of memory")
        raise NotComplete(f"Git does not accept the pack: {_last_line(said)}")

    def end(self) -> None:
        """End it, wherever it is."""
        end_process(self._running)
        self._errors.close()


class _Reader:
    """A running `cat-file --batch`."""

    def __init__(self, git: Git) -> None:
        self._running = git.start("cat-file", "--batch", stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def read(self, oid: ObjectId, kind: Kind, most: int) -> bytes:
        """Return an object's bytes. Raises NotComplete and ContentTooLarge, after which nothing more can be read."""
        assert self._running.stdin and self._running.stdout
        self._running.stdin.write(oid.hex().encode() + b"\n")
        self._running.stdin.flush()
        words = self._running.stdout.readline().split()
        if len(words) != 3 or words[1] not in _KINDS:
            raise NotComplete(f"{oid.hex()} is missing")
        if _KINDS[words[1]] != kind:
            raise NotComplete(f"{oid.hex()} is a {words[1].decode()}, and no {kind.name.lower()}")
        size = int(words[2])
        if size > most:
            raise ContentTooLarge(f"{size} bytes; at most {most} are allowed")
        data = self._running.stdout.read(size + 1)[:-1]
        if len(data) != size:
            raise NotComplete(f"{oid.hex()} cannot be read")
        return data

    def end(self) -> None:
        """End it."""
        end_process(self._running)


def _last_line(said: str) -> str:
    """Return what Git says last, without its word `fatal`, and without folders; what is about objects names them."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("error:", "fatal:"))] or lines or ["it does not say why"]
    return _FOLDERS.sub("", telling[0].partition(": ")[2] or telling[0])
