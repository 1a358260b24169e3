"""Reading a local Git repository: its first-parent line, what each commit changed, and contents when they are needed.

Everything goes through the `git` command, so any repository works: bare, or a git directory alone. Commits' paths
and ids are held in memory; contents are read from one running `git cat-file --batch` while requests are built.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from sys import intern
from typing import IO, Self

from storage.base.batched import batched
from storage.base.errors import BadInput
from storage.git.objects import EMPTY_TREE, MODE_TEXTS, REGULAR_MODE_TEXTS, ModeText
from storage.git.run_git import Git, GitFailed
from storage.git.trailers import NO_SUBJECT, carries, names_changeset

_FORMAT = "%x01%H%x00%an%x00%ae%x00%at%x00%ad%x00%B%x00"

# So many ids fit into a pipe's buffer (64 KiB), so that asking never waits for answers to be read.
_MAX_ASKED = 1000
# The limits of the API's defaults, with room for the trailer.
_MAX_MESSAGE_BYTES = 60_000
_MAX_IDENT_BYTES = 1000

_NOT_IN_IDENT = re.compile(r"[\x00-\x1f\x7f<>]")
_ZONE = re.compile(r"([+-])(\d\d)(\d\d)", re.ASCII)


class HistoryError(BadInput):
    """The repository cannot be replayed as it is."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """One path that a commit changed; modes are Git's six digits, empty where there is no file."""

    path: str
    mode: str  # after the commit
    oid: str  # likewise; empty for a delete
    old_mode: str  # before it
    old_oid: str

    @classmethod
    def parse(cls, row: str, path: str) -> Self:
        """Read what `git diff-tree --raw --no-abbrev` prints before a path."""
        # Changes share most of their paths and ids: held once, they take a fraction of the memory.
        path, old_mode, mode, old_oid, oid = map(intern, (path, *row.lstrip(":").split(" ")[:4]))
        new = ("", "") if mode == ModeText.ABSENT else (mode, oid)
        old = ("", "") if old_mode == ModeText.ABSENT else (old_mode, old_oid)
        return cls(path, *new, *old)

    @property
    def deletes(self) -> bool:
        """Whether the path is gone after the commit."""
        return not self.mode

    @property
    def only_mode(self) -> bool:
        """Whether an ordinary file kept its content and is now executable, or no longer."""
        return self.oid == self.old_oid and self.mode in REGULAR_MODE_TEXTS and self.old_mode in REGULAR_MODE_TEXTS

    @property
    def needs_content(self) -> bool:
        """Whether a blob has to be sent."""
        return not self.deletes and not self.only_mode and self.mode != ModeText.SUBMODULE


@dataclass(frozen=True, slots=True)
class SourceCommit:
    """A commit of the first-parent line, with its texts made fit for the API."""

    oid: str
    author: str
    email: str
    time: str  # ISO 8601 with its zone
    message: str
    changes: list[FileChange] = field(default_factory=list)  # against its first parent


class History:
    """A repository's first-parent line up to HEAD. Use it as a context manager; contents may be read by any thread."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self._cat: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._git = Git(repository)

    def __enter__(self) -> Self:
        """Find HEAD. Raises HistoryError."""
        self.head = self._line("rev-parse", "--verify", "HEAD^{commit}")
        self.tree = self._line("rev-parse", "--verify", "HEAD^{tree}")
        return self

    def __exit__(self, *exc: object) -> None:
        """End the process that contents come from."""
        if self._cat:
            _end(self._cat)

    def line(self) -> list[str]:
        """Return the ids of the first-parent line, oldest first."""
        return self._line("rev-list", "--first-parent", "--reverse", self.head).split()

    def commits(self, since: str) -> Iterator[SourceCommit]:
        """Yield the commits of the line behind `since`, oldest first, each against its first parent."""
        arguments = ["log", "--first-parent", "--reverse", "--date=raw", f"--format={_FORMAT}"]
        arguments += ["-m", "--raw", "-r", "-z", "--no-renames", "--no-abbrev"]
        arguments += ["--encoding=UTF-8", "--no-show-signature", "--no-notes"]
        # A user's diff settings, which `git log` would honour.
        arguments += ["--ignore-submodules=none", "--no-relative", "-O/dev/null", "--no-color", "--no-mailmap"]
        with self._stream(*arguments, f"{since}..{self.head}", "--") as stream:
            yield from _parse(stream)

    def files(self, commit: str) -> Iterator[FileChange]:
        """Yield all files of a commit, as if it had put them."""
        with self._stream(
            "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", EMPTY_TREE.hex(), commit
        ) as stream:
            fields = _fields(stream)
            for meta in fields:
                yield _change(meta, next(fields))

    def contents(self, oids: Sequence[str]) -> list[bytes]:
        """Return blobs' bytes, in order. All of them are in memory at once: ask for few."""
        with self._lock:
            return [content for part in batched(oids, _MAX_ASKED) for content in self._ask(part)]

    def _ask(self, oids: Sequence[str]) -> list[bytes]:
        if self._cat is None:
            self._cat = self._start("cat-file", "--batch", stdin=subprocess.PIPE)
        assert self._cat.stdin and self._cat.stdout
        try:
            self._cat.stdin.write("".join([f"{oid}\n" for oid in oids]).encode())
            self._cat.stdin.flush()
        except BrokenPipeError:
            raise HistoryError(f"git cat-file has died in {self.repository}") from None
        contents = []
        for oid in oids:
            head = self._cat.stdout.readline().split()
            if len(head) != 3:
                raise HistoryError(f"{oid} is not in {self.repository}: is it a partial clone?")
            contents.append(self._cat.stdout.read(int(head[2])))
            self._cat.stdout.read(1)
        return contents

    @contextmanager
    def _stream(self, *arguments: str) -> Iterator[IO[bytes]]:
        process = self._start(*arguments)
        try:
            assert process.stdout
            yield process.stdout
            if process.wait() != 0:
                raise HistoryError(f"git {arguments[0]} failed in {self.repository}")
        finally:
            _end(process)

    def _start(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        try:
            return self._git.start(*arguments, stdin=stdin)
        except GitFailed as error:
            raise HistoryError(str(error)) from error

    def _line(self, *arguments: str) -> str:
        try:
            return os.fsdecode(self._git.output(*arguments)).strip()
        except GitFailed as error:
            raise HistoryError(f"{self.repository}: {error.reason}") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, whether or not its output was read to the end."""
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
    process.kill()
    process.wait()


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
            author, email, seconds, raw, message = (next(fields).decode(errors="replace") for _ in range(5))
            who = fit_ident(author) or "unknown", fit_ident(email)
            commit = SourceCommit(text[1:].decode(), *who, fit_time(seconds, raw), fit_message(message))
        elif text.startswith(b":"):
            assert commit
            commit.changes.append(_change(text, next(fields)))
    if commit:
        yield commit


def fit_ident(text: str) -> str:
    """Return a name or an address without what a commit cannot carry."""
    return _NOT_IN_IDENT.sub("", text).strip().encode()[:_MAX_IDENT_BYTES].decode(errors="ignore")


def fit_message(text: str) -> str:
    """Return a message that the API takes: no NUL, no line that counts as Sluice's trailers, not empty or too long."""
    lines = text.replace("\0", "").splitlines(keepends=True)
    kept = "".join([line for line in lines if not names_changeset(line)])
    kept = kept.encode()[:_MAX_MESSAGE_BYTES].decode(errors="ignore")
    return kept if kept.strip() and carries(kept) else f"{NO_SUBJECT}\n\n{kept}".rstrip() + "\n"


def fit_time(seconds: str, raw: str) -> str:
    """Return a time in ISO 8601 from Git's seconds and a raw date with its zone; 1970 if it is not a valid time."""
    zone = _ZONE.fullmatch(raw.rpartition(" ")[2])
    minutes = int(zone[2]) * 60 + int(zone[3]) if zone else 0
    # Zones of a day or more have been seen in the wild; datetime has none of these.
    offset = timedelta(minutes=minutes if minutes < 24 * 60 else 0)
    try:
        when = datetime.fromtimestamp(max(0, int(seconds)), timezone(-offset if zone and zone[1] == "-" else offset))
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00+00:00"
    return when.isoformat()


def _change(meta: bytes, path: bytes) -> FileChange:
    try:
        change = FileChange.parse(meta.decode(), path.decode())
    except UnicodeDecodeError:
        raise HistoryError(f"the path {path!r} is not UTF-8, and a replay has no such paths") from None
    if change.mode and change.mode not in MODE_TEXTS:
        raise HistoryError(f"{change.path} has the mode {change.mode}, which git fsck refuses")
    return change
