"""Random Git histories with everything that a history may have between two commits, and a model of each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.git_repository import GitRepository

Files = dict[bytes, tuple[str, bytes]]
"""Modes and contents by path."""

_NAMES = [b"a", b"a", b"b", b"a.b", b"sub", b"sub", "ü".encode(), b"c c"]
_MESSAGES = [
    b"Change\n", "Ä subject\n\nA body\nof lines.\n".encode(), b"latin \xe9\n", b"no end", b"\n\nblank lines  \n\n",
    b"S\n\nReviewed-by: B <b@example.org>\nChangeset-Id: 01ARZ3NDEKTSV4RRFFQ69G5FAV\n",
]  # fmt: skip


@dataclass
class Made:
    """A commit as it was made."""

    parents: list[int]  # numbers of earlier ones
    files: Files


def tangled(path: Path, commits: int, seed: int) -> tuple[GitRepository, list[Made], list[str]]:
    """Return a history whose last commit, `main`, reaches all others; the model of each, and their ids.

    It has several roots, merges that take one side, both, or something else, an octopus now and then, renames, files
    that become directories, changes of modes, and commits that change nothing.
    """
    rng = random.Random(seed)
    made: list[Made] = []
    heads: list[int] = []
    for number in range(commits):
        parents = _parents(rng, heads, number, last=number == commits - 1)
        files = _files(rng, [made[parent].files for parent in parents])
        heads = [head for head in heads if head not in parents or rng.random() < 0.25] + [number]
        made.append(Made(parents, files))
    repo = GitRepository(path)
    marks = path / "marks"
    stream = b"".join(_stream(rng, made))
    repo.git("fast-import", "--quiet", "--force", f"--export-marks={marks}", stdin=stream)
    repo.git("symbolic-ref", "HEAD", "refs/heads/main")
    ids = dict(line.split() for line in marks.read_text().splitlines())
    return repo, made, [ids[f":{number + 1}"] for number in range(commits)]


def _parents(rng: random.Random, heads: list[int], number: int, *, last: bool) -> list[int]:
    if last:
        return heads[::-1]
    if not heads or (number < 12 and rng.random() < 0.2):
        return []
    chosen = rng.sample(heads, min(len(heads), rng.choices([1, 2, 3], [6, 4, 1])[0]))
    return chosen if rng.random() < 0.9 or len(chosen) > 1 else [rng.randrange(number)]


def _files(rng: random.Random, parents: list[Files]) -> Files:
    if not parents:
        return _edited(rng, {}) if rng.random() < 0.9 else {}
    how = rng.random()
    if len(parents) > 1 and how < 0.15:
        return dict(rng.choice(parents))  # one side as it was
    if len(parents) > 1 and how < 0.9:  # all files, those that several have from some side
        files: Files = {}
        for name in sorted({name for side in parents for name in side}):
            _put(files, name, rng.choice([side[name] for side in parents if name in side]))
        return files if rng.random() < 0.7 else _edited(rng, files)
    if len(parents) == 1 and how < 0.15:
        return dict(parents[0])
    return _edited(rng, parents[0])


def _edited(rng: random.Random, before: Files) -> Files:
    files = dict(before)
    for _ in range(rng.randint(1, 3)):
        there = sorted(files)
        what = rng.random()
        if there and what < 0.12:
            del files[rng.choice(there)]
        elif there and what < 0.3:  # renamed, the whole directory perhaps
            old = rng.choice(there)
            _put(files, _path(rng), files.pop(old))
        elif there and what < 0.4:
            name = rng.choice(there)
            files[name] = rng.choice(["100644", "100755"]), files[name][1]
        else:
            _put(files, _path(rng), (rng.choice(["100644", "100644", "120000"]), b"%d\n" % rng.randrange(20)))
    return files


def _path(rng: random.Random) -> bytes:
    return b"/".join(rng.choices(_NAMES, k=rng.randint(1, 3)))


def _put(files: Files, path: bytes, what: tuple[str, bytes]) -> None:
    """Have a file at a path; what stands in its way goes."""
    for other in list(files):
        if other.startswith(path + b"/") or path.startswith(other + b"/"):
            del files[other]
    files[path] = what


def _stream(rng: random.Random, made: list[Made]) -> Iterator[bytes]:
    for number, commit in enumerate(made):
        when = 1_600_000_000 + rng.randrange(100_000)
        name = b"Ad\xe4" if number % 7 == 3 else b"Ada"
        ref = b"main" if number == len(made) - 1 else b"side-%d" % number
        message = rng.choice(_MESSAGES)
        yield b"reset refs/heads/%s\ncommit refs/heads/%s\nmark :%d\n" % (ref, ref, number + 1)
        yield b"author %s <ada@example.org> %d +0130\n" % (name, when)
        yield b"committer Cleo <cleo@example.org> %d -0800\n" % (when + 60)
        if message.startswith(b"latin"):
            yield b"encoding ISO-8859-1\n"
        yield b"data %d\n%s\n" % (len(message), message)
        for at, parent in enumerate(commit.parents):
            yield b"%s :%d\n" % (b"merge" if at else b"from", parent + 1)
        yield b"deleteall\n"
        for path, (mode, content) in sorted(commit.files.items()):
            quoted = b'"' + b"".join(b"\\%03o" % byte for byte in path) + b'"'
            yield b"M %s inline %s\ndata %d\n%s\n" % (mode.encode(), quoted, len(content), content)
