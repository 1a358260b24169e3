"""Reading a local Git repository: its first-parent line, what each commit changed, and contents when they are needed.

Everything goes through the `git` command, so any repository will do: bare, or a git directory alone. Commits' paths
and ids are held in memory; contents are fetched by one long `git cat-file --batch` as requests are built.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import IO

_FORMAT = "%x01%H%x00%an%x00%ae%x00%at%x00%ad%x00%B%x00"
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_MODES = {"100644", "100755", "120000", "160000"}


class HistoryError(Exception):
    """The repository cannot be replayed as it is."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """One path that a commit changed."""

    path: str
    mode: str  # of what it put; empty for a delete
    oid: str  # likewise
    old_oid: str  # of what stood there; all zeros if nothing

    @property
    def deletes(self) -> bool:
        """Whether the path is gone after the commit."""
        return not self.mode


@dataclass(slots=True)
class SourceCommit:
    """A commit of the first-parent line."""

    oid: str
    author: str
    email: str
    time: str  # ISO 8601 with its zone
    message: str
    changes: list[FileChange] = field(default_factory=list)


class History:
    """A repository's first-parent line up to HEAD. Use it as a context manager; contents may be read by any thread."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self._cat: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._environ = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}

    def __enter__(self) -> History:
        self.head = self._line("rev-parse", "--verify", "HEAD^{commit}")
        self.tree = self._line("rev-parse", "--verify", "HEAD^{tree}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cat:
            assert self._cat.stdin and self._cat.stdout
            self._cat.stdin.close()
            self._cat.stdout.close()
            self._cat.wait()

    def line(self) -> list[str]:
        """Return the ids of the first-parent line, oldest first."""
        return self._line("rev-list", "--first-parent", "--reverse", "HEAD").split()

    def commits(self, since: str) -> Iterator[SourceCommit]:
        """Yield the commits of the line behind `since`, oldest first, each against its first parent."""
        arguments = [
            "log",
            "--first-parent",
            "--reverse",
            "--date=raw",
            f"--format={_FORMAT}",
            "-m",
            "--raw",
            "-r",
            "-z",
        ]
        arguments += ["--no-renames", "--no-abbrev", "--encoding=UTF-8", f"{since}..HEAD"]
        process = self._start(*arguments)
        assert process.stdout
        with process.stdout as stream:
            yield from _parse(stream)
        if process.wait() != 0:
            raise HistoryError(f"git log failed in {self.repository}")

    def files(self, commit: str) -> Iterator[FileChange]:
        """Yield all files of a commit, as if it had put them."""
        process = self._start("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", _EMPTY_TREE, commit)
        assert process.stdout
        with process.stdout as stream:
            fields = _fields(stream)
            for meta in fields:
                yield _change(meta, next(fields))
        if process.wait() != 0:
            raise HistoryError(f"git diff-tree failed in {self.repository}")

    def content(self, oid: str) -> bytes:
        """Return a blob's bytes."""
        with self._lock:
            if self._cat is None:
                self._cat = self._start("cat-file", "--batch", stdin=subprocess.PIPE)
            assert self._cat.stdin and self._cat.stdout
            self._cat.stdin.write(oid.encode() + b"\n")
            self._cat.stdin.flush()
            head = self._cat.stdout.readline().split()
            if len(head) != 3:
                raise HistoryError(f"{oid} is not in {self.repository}: is it a shallow or partial clone?")
            data = self._cat.stdout.read(int(head[2]))
            self._cat.stdout.read(1)
            return data

    def _start(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        command = ["git", "-C", str(self.repository), "-c", "core.quotePath=false", *arguments]
        return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, env=self._environ)

    def _line(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.repository), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environ, check=False)
        if done.returncode:
            raise HistoryError(f"{self.repository}: {done.stderr.strip()}")
        return done.stdout.strip()


def _fields(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(1 << 16):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole
    if rest.strip():
        yield rest


def _parse(stream: IO[bytes]) -> Iterator[SourceCommit]:
    fields = _fields(stream)
    commit: SourceCommit | None = None
    for item in fields:
        text = item.lstrip(b"\n")
        if text.startswith(b"\x01"):
            if commit:
                yield commit
            commit = _commit(text[1:].decode(), *(next(fields).decode(errors="replace") for _ in range(5)))
        elif text.startswith(b":"):
            assert commit
            commit.changes.append(_change(text, next(fields)))
    if commit:
        yield commit


def _commit(oid: str, author: str, email: str, seconds: str, raw: str, message: str) -> SourceCommit:
    zone = raw.rpartition(" ")[2]
    return SourceCommit(oid, _ident(author) or "unknown", _ident(email), _iso(seconds, zone), _message(message))


def _ident(text: str) -> str:
    """Return a name or address without what a commit cannot carry."""
    return re.sub(r"[<>\n\0]", "", text).strip(" .,:;\"'\\")


def _message(text: str) -> str:
    """Return a message without NUL, and without trailers that would count as Sluice's own."""
    lines = text.replace("\0", "").splitlines()
    return (
        "\n".join(line for line in lines if not line.lower().lstrip().startswith("changeset-id:")).strip() or "(none)"
    )


def _iso(seconds: str, zone: str) -> str:
    try:
        minutes = int(zone[1:3]) * 60 + int(zone[3:5])
        offset = timedelta(minutes=-minutes if zone[0] == "-" else minutes)
        return datetime.fromtimestamp(max(0, int(seconds)), timezone(offset)).isoformat()
    except (ValueError, OverflowError, IndexError):
        return "1970-01-01T00:00:00+00:00"


def _change(meta: bytes, path: bytes) -> FileChange:
    _, mode, old_oid, oid, _ = meta.decode().lstrip(":").split(" ")
    try:
        name = path.decode()
    except UnicodeDecodeError:
        raise HistoryError(f"the path {path!r} is not UTF-8, which Sluice's API needs") from None
    if mode == "000000":
        return FileChange(name, "", "", old_oid)
    if mode not in _MODES:
        raise HistoryError(f"{name} has the mode {mode}, which git fsck refuses")
    return FileChange(name, mode, oid, old_oid)
