"""What `sluice submit --git` submits: the changes between two commits of a local repository, as one changeset.

Only plumbing commands are used (`rev-parse`, `diff-tree --raw -z`, `cat-file --batch`), whose output does not depend on
a user's settings; commits are parsed from their own bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.client.api_client import Json, content
from app.folder.own_files import is_own
from app.judge import FileChange, fit_ident, fit_time
from storage.base.errors import BadInput
from storage.git.fsck import needs_content
from storage.git.objects import EMPTY_TREE, FILE_MODE, ModeText
from storage.git.run_git import Git, GitFailed
from storage.git.trailers import names_changeset

_ID = re.compile(r"[0-9a-f]{40}")
_IDENT = re.compile(rb"(.*?) ?<([^<>]*)> (-?\d+) ([+-]\d{4})", re.DOTALL)


class RangeError(BadInput):
    """The range cannot be submitted as it is."""


@dataclass(frozen=True, slots=True)
class Range:
    """A range of commits as a changeset."""

    changeset: Json  # without `message` or `author` where no commit has one
    files: dict[str, Json | None]  # the mode and id of what stands at each path then
    left_out: list[str]  # paths that are never submitted


@dataclass(frozen=True, slots=True)
class _Commit:
    oid: str
    who: Json  # its author and time; empty where they are not as Git writes them
    message: str


def read_range(repository: Path, commits: str, moves: bool = False, git: Git | None = None) -> Range:
    """Return a range of commits (`A..B`, `A...B`, or one commit) as one changeset, with each change's version as base.

    With `moves`, what Git takes for renamed between both ends (`git diff -M`) is submitted as moved. Author, time and
    message are those of the last commit; where there are several, the message lists them. `git` runs in the repository,
    by default with its user's settings.
    """
    try:
        return _Reader(git or Git(repository), repository).read(commits, moves)
    except GitFailed as error:
        raise RangeError(f"{repository}: {error.reason}") from error


class _Reader:
    def __init__(self, git: Git, repository: Path) -> None:
        self._git = git
        self._repository = repository

    def read(self, commits: str, moves: bool) -> Range:
        old, new = self._ends(commits)
        listed = self._listed(old, new)
        taken = [change for change in listed if not is_own(change.path)]
        between = self._between(old, new)
        read = [self._commit(oid) for oid in dict.fromkeys([*between, new])]
        message = _message([commit.message for commit in read if commit.oid in between])
        contents = self._objects([change.oid for change in taken if change.needs_content])
        left = self._renamed(old, new, taken) if moves else {}
        gone = {change.path for change in left.values()}
        changes = [
            _move(change, left[change.path], contents) if change.path in left else _change(change, contents)
            for change in taken
            if change.path not in gone
        ]
        return Range(
            {**read[-1].who, **({"message": message} if message else {}), "changes": changes},
            {change.path: {"mode": change.mode, "id": change.oid} if change.mode else None for change in taken},
            [change.path for change in listed if is_own(change.path)],
        )

    def _ends(self, commits: str) -> tuple[str, str]:
        """Return the two ends of a range, as ids of a tree or commit, and of a commit."""
        first, dots, last = commits.partition("...")
        if not dots:
            first, dots, last = commits.partition("..")
        if not (first.strip() or last.strip()):
            raise RangeError(f"{commits!r} names no commit: A..B, A...B, or one commit")
        new = self._id(last if dots else first)
        if dots:
            old = self._id(first)
            if dots == "...":
                old = self._line("merge-base", old, new, problem="the two commits have no common ancestor")
            return old, new
        parents = self._line("rev-parse", f"{new}^@").split()
        return (parents[0] if parents else EMPTY_TREE.hex()), new

    def _id(self, name: str) -> str:
        """Return the id of a commit that a user named; nothing means HEAD, as in Git."""
        oid = self._line("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name or 'HEAD'}^{{commit}}",
                         problem=f"{name or 'HEAD'!r} is no commit of {self._repository}")  # fmt: skip
        if not _ID.fullmatch(oid):
            raise RangeError(f"{name!r} is no commit with an SHA-1 id, which Sluice needs")
        return oid

    def _line(self, *arguments: str, problem: str = "") -> str:
        try:
            return self._git.output(*arguments).decode().strip()
        except GitFailed as error:
            if problem and not error.reason:
                raise RangeError(problem) from error
            raise

    def _between(self, old: str, new: str) -> list[str]:
        """Return the commits of the range, oldest first."""
        if old == EMPTY_TREE.hex():
            return [new]
        return self._line("rev-list", "--reverse", "--first-parent", f"{old}..{new}").split()

    def _listed(self, old: str, new: str) -> list[FileChange]:
        """Return the files that differ."""
        fields = self._git.output(
            "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", "--ignore-submodules=none", old, new
        ).split(b"\0")
        return [
            FileChange.parse(row.decode(), _text(path)) for row, path in zip(fields[0:-1:2], fields[1::2], strict=True)
        ]

    def _renamed(self, old: str, new: str, taken: list[FileChange]) -> dict[str, FileChange]:
        """Return what was deleted for each new file that Git takes for it, renamed, of what can move as it is."""
        arguments = ("diff-tree", "-r", "-z", "--raw", "-M", "--diff-filter=R", "--no-abbrev")
        fields = [*self._git.output(*arguments, old, new).split(b"\0")][:-1]
        changes = {change.path: change for change in taken}
        left: dict[str, FileChange] = {}
        for _, source, path in zip(fields[0::3], fields[1::3], fields[2::3], strict=True):
            gone, made = changes.get(_text(source)), changes.get(_text(path))
            if gone is None or made is None or needs_content(path, FILE_MODE):
                continue
            if made.mode != ModeText.SUBMODULE or made.oid == gone.old_oid:
                left[made.path] = gone
        return left

    def _objects(self, oids: list[str]) -> dict[str, bytes]:
        """Return objects' bytes by id."""
        contents: dict[str, bytes] = {}
        if not oids:
            return contents
        data = self._git.output("cat-file", "--batch", stdin="".join(f"{oid}\n" for oid in oids).encode())
        start = 0
        for oid in oids:
            end = data.index(b"\n", start)
            head = data[start:end].split()
            if len(head) != 3:
                raise RangeError(f"{oid} is not in {self._repository}: is it a partial clone?")
            start = end + 1 + int(head[2])
            contents[oid] = data[end + 1 : start]
            start += 1
        return contents

    def _commit(self, oid: str) -> _Commit:
        head, _, message = self._objects([oid])[oid].partition(b"\n\n")
        headers: dict[bytes, bytes] = {}
        for line in head.split(b"\n"):
            name, _, value = line.partition(b" ")
            headers.setdefault(name, value)  # a continuation line has the empty name
        decode = partial(_decoded, headers.get(b"encoding", b"UTF-8").decode("ascii", errors="replace"), oid)
        return _Commit(oid, _who(headers.get(b"author", b""), decode), decode(message))


def _change(change: FileChange, contents: dict[str, bytes]) -> Json:
    made: Json = {"path": change.path, "base": change.old_oid or None}
    if change.deletes:
        return {"op": "delete"} | made
    if change.only_mode:
        return {"op": "mode", "mode": change.mode} | made
    version = content(contents[change.oid]) if change.needs_content else {"id": change.oid}
    return {"op": "put", "mode": change.mode, **version} | made


def _move(change: FileChange, gone: FileChange, contents: dict[str, bytes]) -> Json:
    made: Json = {"op": "move", "path": change.path, "from": gone.path, "base": gone.old_oid}
    if change.oid != gone.old_oid:
        return made | {"mode": change.mode} | content(contents[change.oid])
    return made | ({"mode": change.mode} if change.mode != gone.old_mode else {})


def _who(author: bytes, decode: Callable[[bytes], str]) -> Json:
    ident = _IDENT.fullmatch(author)
    name = fit_ident(decode(ident[1])) if ident else ""
    if ident is None or not name:
        return {}
    who = {"name": name, "email": fit_ident(decode(ident[2]))}
    return {"author": who, "time": fit_time(ident[3].decode(), ident[4].decode())}


def _decoded(encoding: str, oid: str, text: bytes) -> str:
    """Decode a text of a commit by the encoding that the commit names."""
    try:
        return text.decode(encoding)
    except (LookupError, ValueError) as error:
        known = isinstance(error, UnicodeError)
        why = f"is not {encoding}" if known else f"has an encoding that is not known: {encoding!r}"
        raise RangeError(f"commit {oid}: its author or message {why}; `git commit --amend` writes it anew") from error


def _message(messages: list[str]) -> str:
    """Return the message of the range, without trailers that would count as Sluice's own."""
    messages = [_without_trailer(message).strip("\n \t\r") for message in messages]
    if len(messages) <= 1:
        return "".join(messages)
    subjects = [message.partition("\n")[0].rstrip() for message in messages]
    return f"{subjects[-1]}\n\n" + "\n".join(f"* {subject}" for subject in subjects if subject)


def _without_trailer(message: str) -> str:
    """Return a message without the trailers Changeset-Id and Changeset-Submitter, which Sluice writes itself.

    Only the last paragraph has trailers. Lines end with a line feed and with nothing else, as in Git.
    """
    body, gap, trailers = message.rstrip("\n").rpartition("\n\n")
    if not gap:
        return message
    kept = [line for line in trailers.split("\n") if not names_changeset(line)]
    return body + gap + "\n".join(kept) if kept else body


def _text(path: bytes) -> str:
    return path.decode(errors="surrogateescape")
