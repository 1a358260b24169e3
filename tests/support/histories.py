"""Git histories as they come from elsewhere: large ones by `git fast-import`, and odd ones, object by object."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from tests.support.git_repository import GitRepository

LATIN = "naïve-é.txt".encode("latin-1")
"""A path that is not UTF-8."""
_WHO = b"Ada <ada@example.org> %d +0100"


def large(path: Path, commits: int, seed: int = 1, files: int = 40) -> GitRepository:
    """Return one of so many commits on its main line, with merges, an octopus, two roots, tags, symlinks and more."""
    made = GitRepository(path)
    made.git("fast-import", "--quiet", "--force", stdin=b"".join(_stream(commits, random.Random(seed), files)))
    made.git("symbolic-ref", "HEAD", "refs/heads/main")
    return made


def _stream(commits: int, choose: random.Random, files: int) -> Iterator[bytes]:
    texts = {
        b"dir%d/sub/file%d.txt" % (n % 7, n): [b"line %d of %d\n" % (i, n) for i in range(60)] for n in range(files)
    }
    names = sorted(texts)
    mark, last = 0, 0
    sides: list[int] = []
    for number in range(commits):
        mark += 1
        when = 1_600_000_000 + 60 * number
        yield b"commit refs/heads/main\nmark :%d\nauthor %s\ncommitter %s\n" % (mark, _WHO % when, _WHO % (when + 5))
        message = b"Change %d\n" % number if number % 11 else "Ändere %d\n".encode("latin-1") % number
        yield b"data %d\n%s\n" % (len(message), message)
        if last:
            yield b"from :%d\n" % last
        if number % 20 == 15:  # an octopus
            yield from (b"merge :%d\n" % side for side in sides[-2:])
        elif sides and number % 20 == 5:
            yield b"merge :%d\n" % sides[-1]
        changed = names if number == 0 else choose.sample(names, 2)
        for name in changed:
            texts[name][choose.randrange(60)] = b"changed by %d\n" % number
            data = b"".join(texts[name])
            yield b"M 100644 inline %s\ndata %d\n%s\n" % (name, len(data), data)
        if number == 1:
            yield b"M 120000 inline link\ndata 11\ndir0/target\nM 100755 inline run.sh\ndata 2\n:\n\n"
            yield b"M 160000 %s vendored\n" % (b"12" * 20)
            yield b'M 100644 inline "na\\357ve-\\351.txt"\ndata 3\nabc\n'
        last = mark
        if number % 10 == 2:  # a branch, merged later; each third one begins a history of its own
            mark += 1
            sides.append(mark)
            who = _WHO % (when + 30)
            yield b"commit refs/heads/side-%d\nmark :%d\ncommitter %s\ndata 5\nside\n\n" % (number, mark, who)
            yield b"" if number % 30 == 2 else b"from :%d\n" % last
            yield b"M 100644 inline side/%d.txt\ndata 5\nside\n\n" % number
        if number % 25 == 3:
            who = _WHO % when
            yield b"tag v%d\nfrom :%d\ntagger %s\ndata 4\nv%d\n\n" % (number, last, who, number % 10)
            yield b"reset refs/tags/light-%d\nfrom :%d\n\n" % (number, last)


def odd(path: Path) -> GitRepository:
    """Return one with what old programs wrote, and `git fsck` complains of."""
    made = GitRepository.begun(path)
    made.write("a.txt", "a\n")
    made.write("sub/b.txt", "b\n")
    made.commit("two")
    made.raw_commit(b"no newline at the end", author=b"Ada <ada@example.org> 1700000000 +051800")
    made.raw_commit(
        b"latin: \xe9\n", author=b"J\xe9r\xf4me <j@example.org> 1700000000 +0000", headers=b"encoding ISO-8859-1\n"
    )
    made.raw_commit(b"neither: \xff\xfe\n", author=b"<> 1700000000 +0000")
    rows = made.git("ls-tree", "HEAD", "a.txt", "sub").split()
    blob, below = (bytes.fromhex(each) for each in (rows[2], rows[6]))
    tree = b"100664 a.txt\0" + blob + b"100644 " + LATIN + b"\0" + blob + b"40000 sub\0" + below
    oid = made.git("hash-object", "-t", "tree", "--literally", "-w", "--stdin", stdin=tree)
    commit = made.git("commit-tree", "-p", "HEAD", "-m", "modes of old", oid)
    made.git("update-ref", "HEAD", commit)
    made.git("tag", "light")
    made.git("tag", "-a", "noted", "-m", "a tag")
    made.git("tag", "-a", "of-a-tag", "-m", "a tag of a tag", "noted")
    made.git("tag", "of-a-blob", rows[2])
    made.git("tag", "of-nobody", made.git("commit-tree", "-m", "elsewhere", oid))
    return made
