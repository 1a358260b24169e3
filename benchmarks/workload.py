"""The workload of all benchmarks: a synthetic repository and changes to it, from a seed, the same for everyone.

Files are code-like text of about 2 KB in directories of the same width; a changeset rewrites two files that no other
changeset of the run touches, so all of them land on the imported base.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from benchmarks.git import git, run_git

_WORDS = (
    "value index result node buffer stream client server handle request response session record field table column "
    "config option parser token cursor batch queue worker message payload header offset length limit retry"
).split()


@dataclass(frozen=True, slots=True)
class Changeset:
    """Two files with new contents; `top` is the top-level directory of both."""

    number: int
    top: str
    files: tuple[tuple[str, bytes], ...]


class Workload:
    """`files` files in directories of `width`, two levels below `tops` top-level directories."""

    def __init__(self, files: int = 10_000, width: int = 100, tops: int = 8, seed: int = 1, size: int = 2000) -> None:
        self.seed, self.size = seed, size
        self.paths: list[str] = []
        for i in range(files):
            directory = i // width
            self.paths.append(f"area{directory % tops}/group{directory // tops // width}/part{directory // tops}/file{i % width:03}.py")
        self.tops = sorted({path.split("/")[0] for path in self.paths})

    def initial(self) -> Iterator[tuple[str, bytes]]:
        """Yield the files of the base."""
        for i, path in enumerate(self.paths):
            yield path, self._content(random.Random(f"{self.seed}/{i}"))

    def changesets(self, count: int, first: int = 0) -> Iterator[Changeset]:
        """Yield changesets; those from number `first` on touch other files than those before."""
        by_top = {top: [path for path in self.paths if path.startswith(top + "/")] for top in self.tops}
        order = random.Random(self.seed)
        for paths in by_top.values():
            order.shuffle(paths)
        for number in range(first, first + count):
            top = self.tops[number % len(self.tops)]
            at = number // len(self.tops) * 2
            pair = by_top[top][at : at + 2]
            if len(pair) < 2:
                raise ValueError(f"{len(self.paths)} files are too few for {first + count} changesets")
            rng = random.Random(f"{self.seed}/change/{number}")
            yield Changeset(number, top, tuple((path, self._content(rng)) for path in pair))

    def most_changesets(self) -> int:
        """How many changesets can touch files of their own."""
        return len(self.paths) // 2 - len(self.tops)

    def digest(self, count: int) -> str:
        """Return the hash that pins the input."""
        hasher = sha256()
        for path, data in self.initial():
            hasher.update(path.encode() + b"\0" + data)
        for changeset in self.changesets(count):
            for path, data in changeset.files:
                hasher.update(path.encode() + b"\0" + data)
        return hasher.hexdigest()

    def _content(self, rng: random.Random) -> bytes:
        lines, size = [], 0
        while size < self.size:
            a, b, c = rng.choices(_WORDS, k=3)
            line = f"{'    ' * rng.randint(0, 3)}{a}_{b} = {c}({rng.randint(0, 9999)}, {a}={b})\n"
            lines.append(line)
            size += len(line)
        return "".join(lines).encode()


def import_into(repository: Path, workload: Workload) -> str:
    """Make a bare repository with the base on `main`; return the commit."""
    run_git(None, "init", "--quiet", "--bare", "--initial-branch=main", str(repository))
    stream(repository, _base(workload))
    return git(repository, "rev-parse", "refs/heads/main")


def expected_tree(repository: Path, changesets: Iterator[Changeset]) -> str:
    """Return the tree of the base with all changesets, by git fast-import in a branch of its own."""
    stream(repository, _changes("refs/heads/expected", "refs/heads/main", changesets))
    return git(repository, "rev-parse", "refs/heads/expected^{tree}")


def stream(repository: Path, parts: Iterator[bytes]) -> None:
    """Feed `parts` to git fast-import."""
    process = subprocess.Popen(["git", "-C", str(repository), "fast-import", "--quiet", "--force"], stdin=subprocess.PIPE)
    assert process.stdin
    with process.stdin as pipe:
        for part in parts:
            pipe.write(part)
    if process.wait():
        raise RuntimeError("git fast-import failed")


def _base(workload: Workload) -> Iterator[bytes]:
    yield b"commit refs/heads/main\ncommitter B <b@example.org> 1700000000 +0000\ndata 4\nbase\n"
    for path, data in workload.initial():
        yield b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(data), data)


def _changes(branch: str, start: str, changesets: Iterator[Changeset]) -> Iterator[bytes]:
    first = True
    for changeset in changesets:
        yield b"commit %s\ncommitter B <b@example.org> 1700000001 +0000\ndata 6\nchange\n" % branch.encode()
        if first:
            yield b"from %s\n" % start.encode()
            first = False
        for path, data in changeset.files:
            yield b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(data), data)


fast_import_changes = _changes
