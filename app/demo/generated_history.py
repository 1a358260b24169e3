"""A generated history for the demo, if this repository's own is too short: real code, and hundreds of seeded edits.

The code is that of Sluice's installed dependencies. The edits are those of usual histories: changed lines, new and
deleted files, modes, symlinks, files that become directories and files again. The same installation and seed give the
same commits.
"""

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import click

import app
from app.admin.export import ExportError, git
from storage.git.objects import ModeText
from storage.git.paths import PathError, check_path
from storage.git.run_git import Git, GitFailed

ENOUGH = 300
"""Commits below which this repository's own history makes no demo."""

_FILES = 4000
_BYTES = 32 << 20
_PACKAGE_FILES = 250  # of one package, so that there are many: a package becomes a slice
_LARGEST = 1 << 20
_START = 1_700_000_000  # of the first commit, in seconds; each one after it comes ten minutes later
_PEOPLE = ("Ada Lovelace", "Grace Hopper", "Edsger Dijkstra", "Barbara Liskov", "Alan Kay", "Frances Allen")


@dataclass(frozen=True, slots=True)
class _File:
    mode: str
    content: bytes


def own_repository() -> Path | None:
    """Return the checkout that this package runs from, or None if it was installed without one."""
    checkout = Path(app.__file__).parents[1]
    return checkout if (checkout / ".git").exists() else None


def commits(repository: Path) -> int:
    """Count the commits of the first-parent line. Raises ExportError."""
    try:
        return int(Git(repository).output("rev-list", "--count", "--first-parent", "HEAD"))
    except GitFailed as error:
        raise ExportError(str(error)) from error


def installed_sources() -> dict[str, _File]:
    """Return the Python files of the installed dependencies by path, within the bounds above."""
    site = Path(click.__file__).parents[1]
    sources: dict[str, _File] = {}
    size = 0
    for package in sorted(site.iterdir()):
        own = sorted(package.rglob("*.py")) if package.is_dir() else [package] if package.suffix == ".py" else []
        for path in own[:_PACKAGE_FILES]:
            name = path.relative_to(site).as_posix()
            if path.is_symlink() or path.stat().st_size > _LARGEST or not _harmless(name):
                continue
            file = _File(ModeText.EXECUTABLE if path.stat().st_mode & 0o100 else ModeText.FILE, path.read_bytes())
            size += len(file.content)
            if len(sources) >= _FILES or size > _BYTES:
                return sources
            sources[name] = file
    return sources


def _harmless(name: str) -> bool:
    try:
        return check_path(name.encode(), 1024)
    except (PathError, UnicodeEncodeError):
        return False


def build(directory: Path, files: dict[str, _File], count: int = 400, seed: int = 1) -> None:
    """Make a bare repository in `directory`, whose first commit has `files`, and `count` more that edit them."""
    git(None, "init", "--quiet", "--bare", "--initial-branch=main", str(directory))
    edits = _Edits(files, seed)
    with tempfile.TemporaryFile() as stream:
        _commit(stream, 0, "Import the sources of the installed dependencies", files)
        for number in range(1, count + 1):
            message, changes = edits.commit(number)
            _commit(stream, number, message, changes)
        stream.write(b"done\n")
        stream.seek(0)
        git(directory, "fast-import", "--quiet", "--done", stdin=stream)


def _commit(stream: IO[bytes], number: int, message: str, changes: Mapping[str, _File | None]) -> None:
    """Write a commit for `git fast-import`. Deletions come first: a file may replace a directory."""
    name = _PEOPLE[number % len(_PEOPLE)]
    who = f"{name} <{name.split()[0].lower()}@example.org> {_START + 600 * number} +0000"
    stream.write(f"commit refs/heads/main\nauthor {who}\ncommitter {who}\n".encode() + _data(message.encode()))
    for path in (path for path, file in changes.items() if file is None):
        stream.write(f"D {path}\n".encode())
    for path, file in changes.items():
        if file is not None:
            stream.write(f"M {file.mode} inline {path}\n".encode() + _data(file.content))
    stream.write(b"\n")


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)


class _Edits:
    """The current tree, and the random generator."""

    def __init__(self, files: dict[str, _File], seed: int) -> None:
        self._files = dict(files)
        self._random = random.Random(seed)
        self._turned: list[str] = []  # files that are directories now
        self._number = 0
        self._packages: dict[str, list[str]] = {}
        for path in self._files:
            self._packages.setdefault(path.partition("/")[0], []).append(path)

    def commit(self, number: int) -> tuple[str, dict[str, _File | None]]:
        """Make the next commit's changes, None for what it deletes: most change lines, every fifth does more."""
        self._number = number
        changes: dict[str, _File | None] = {}
        special: list[Callable[[str], dict[str, _File | None]]] = [
            self._new, self._delete, self._chmod, self._symlink, self._to_directory, self._back,
        ]  # fmt: skip
        # Most commits stay within a package, as most writers do.
        chosen = self._random.sample(list(self._packages), k=self._random.choice((1, 1, 1, 2, 3)))
        for package in chosen:
            for _ in range(self._random.randint(1, 4)):
                changes |= self._lines(package)
        if number % 5 == 0:
            changes |= special[number // 5 % len(special)](chosen[0])
        for path, file in changes.items():
            self._put(path, file)
        words = "; ".join(f"{'remove' if file is None else 'change'} {path}" for path, file in changes.items())
        return f"{', '.join(chosen)}: change {number}\n\n{words}\n", changes

    def _put(self, path: str, file: _File | None) -> None:
        own = self._packages.setdefault(path.partition("/")[0], [])
        if file is None:
            self._files.pop(path)
            own.remove(path)
            return
        if path not in self._files:
            own.append(path)
        self._files[path] = file

    def _regular(self, package: str) -> Iterator[str]:
        """Yield the package's files, no symlinks, in a random order."""
        own = self._packages[package]
        for path in self._random.sample(own, len(own)):
            if self._files[path].mode != ModeText.SYMLINK:
                yield path

    def _some_lines(self, most: int) -> list[bytes]:
        """Return lines that stand somewhere in the tree."""
        path = self._random.choice(self._packages[self._random.choice(list(self._packages))])
        lines = self._files[path].content.splitlines(keepends=True)
        start = self._random.randrange(len(lines)) if lines else 0
        return [line.rstrip(b"\r\n") + b"\n" for line in lines[start : start + most]] or [b"pass\n"]

    def _lines(self, package: str) -> dict[str, _File | None]:
        """Replace a few lines of a file by lines from elsewhere."""
        for path in self._regular(package):
            old = self._files[path]
            lines = old.content.splitlines(keepends=True)
            for _ in range(self._random.randint(1, 3)):
                start = self._random.randint(0, len(lines))
                lines[start : start + self._random.randint(0, 3)] = self._some_lines(self._random.randint(1, 4))
            content = b"".join(lines)
            return {path: _File(old.mode, content if content != old.content else content + b"\n")}
        return {}

    def _new(self, package: str) -> dict[str, _File | None]:
        for path in self._regular(package):
            folder, slash, _ = path.rpartition("/")
            return {f"{folder}{slash}added_{self._number}.py": _File(ModeText.FILE, b"".join(self._some_lines(60)))}
        return {}

    def _delete(self, package: str) -> dict[str, _File | None]:
        # A package keeps some files, so that there is something to edit.
        return dict.fromkeys(islice(self._regular(package), 2)) if len(self._packages[package]) > 4 else {}

    def _chmod(self, package: str) -> dict[str, _File | None]:
        for path in self._regular(package):
            old = self._files[path]
            return {path: _File(ModeText.FILE if old.mode == ModeText.EXECUTABLE else ModeText.EXECUTABLE, old.content)}
        return {}

    def _symlink(self, package: str) -> dict[str, _File | None]:
        for path in self._regular(package):
            folder, slash, name = path.rpartition("/")
            return {f"{folder}{slash}link_{self._number}.py": _File(ModeText.SYMLINK, name.encode())}
        return {}

    def _to_directory(self, package: str) -> dict[str, _File | None]:
        for path in self._regular(package):
            self._turned.append(path)
            return {path: None, f"{path}/first.py": self._files[path], f"{path}/second.py": self._files[path]}
        return {}

    def _back(self, package: str) -> dict[str, _File | None]:
        """Make a file again of what became a directory, whatever its package."""
        if not self._turned:
            return {}
        path = self._turned.pop()
        own = self._packages[path.partition("/")[0]]
        changes: dict[str, _File | None] = {name: None for name in own if name.startswith(f"{path}/")}
        return changes | {path: _File(ModeText.FILE, b"".join(self._some_lines(60)))}
