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


Files = dict[bytes, tuple[bytes, bytes]]
"""Mode and contents by path."""


def woven(path: Path, commits: int, seed: int) -> GitRepository:
    """Return one whose branches are merged in every way: criss-cross, by threes, with one side's version or another.

    Its files have lines that are often the same, and are deleted, reverted, made executable, turned into directories.
    What is on one line of work is picked onto others. Times are not in order everywhere.
    """
    made = GitRepository(path)
    choose = random.Random(seed)
    made.git("fast-import", "--quiet", "--force", stdin=b"".join(_Woven(choose).commits(commits)))
    made.git("symbolic-ref", "HEAD", "refs/heads/main")
    return made


_WOVEN = (b"a", b"d/b", b"d/e/c")


class _Woven:
    """The commits of such a history, by their numbers, and the ends of its lines of work."""

    def __init__(self, choose: random.Random) -> None:
        self.choose = choose
        self.files: list[Files] = []  # of each commit
        self.parents: list[list[int]] = []
        self.heads: list[int] = []

    def commits(self, count: int) -> Iterator[bytes]:
        self.heads = [self._keep([], {name: (b"100644", self._edited(name, b"")) for name in _WOVEN})]
        while len(self.files) < count - len(self.heads):
            self._one()
        while len(self.heads) > 1:
            some, self.heads = self.heads[:3], self.heads[3:]
            self.heads.append(self._merged(some))
        yield from map(self._shown, range(len(self.files)))
        yield b"reset refs/heads/main\nfrom :%d\n\n" % (self.heads[0] + 1)

    def _one(self) -> None:
        at, choose = self.choose.randrange(len(self.heads)), self.choose
        kind = choose.random()
        if kind < 0.55:
            self.heads[at] = self._changed(self.heads[at])
        elif kind < 0.7 and len(self.heads) < 5:
            self.heads.append(self._changed(choose.randrange(max(0, len(self.files) - 12), len(self.files))))
        elif kind < 0.72:
            self.heads.append(self._keep([], {b"root-%d" % len(self.files): (b"100644", b"a root\n")}))
        elif len(self.heads) > 1:
            own = self.heads.pop(at)
            others = choose.sample(self.heads, 2 if len(self.heads) > 1 and choose.random() < 0.2 else 1)
            if choose.random() < 0.7:  # else they go on, and may be merged again
                self.heads = [head for head in self.heads if head not in others]
            self.heads.append(self._merged([own, *others]))

    def _keep(self, parents: list[int], files: Files) -> int:
        self.files.append(files)
        self.parents.append(parents)
        return len(self.files) - 1

    def _changed(self, parent: int) -> int:
        files, choose = dict(self.files[parent]), self.choose
        for name in choose.sample(_WOVEN, choose.randint(0, 2)):
            mode, text = files.get(name, (b"100644", b""))
            kind = choose.random()
            if kind < 0.1:
                files.pop(name, None)
            elif kind < 0.2:
                files[name] = (b"100755" if mode == b"100644" else b"100644", text or self._edited(name, text))
            elif kind < 0.3:  # as it was somewhere, sometime
                files.pop(name, None)
                was = choose.choice(self.files)
                files |= {name: was[name]} if name in was else {}
            else:
                files[name] = (mode, self._edited(name, text))
        if choose.random() < 0.05:  # a directory in the place of a file, or the other way round
            if files.pop(b"d/b", None):
                files[b"d/b/f"] = (b"100644", b"another %d\n" % len(self.files))
        elif b"d/b" in files:
            files.pop(b"d/b/f", None)
        if b"d/b/f" in files:
            files.pop(b"d/b", None)
        return self._keep([parent], files)

    def _merged(self, parents: list[int]) -> int:
        files: Files = {}
        for name in sorted({name for parent in parents for name in self.files[parent]}):
            there = [self.files[parent].get(name) for parent in parents]
            taken = self.choose.choice(there)
            if len({*there}) > 1 and self.choose.random() < 0.3:
                mode, text = taken or (b"100644", b"")
                other = (self.choose.choice(there) or taken or (mode, text))[1].split(b"\n")
                lines = text.split(b"\n")
                half = self.choose.randrange(len(lines) + 1)
                taken = (mode, self._edited(name, b"\n".join(lines[:half] + other[half:])))
            if taken is not None:
                files[name] = taken
        if b"d/b/f" in files:
            files.pop(b"d/b", None)
        return self._keep(parents, files)

    def _edited(self, name: bytes, text: bytes) -> bytes:
        """Return a text with some lines changed; few different ones. No other file has them, so nothing is a rename."""
        lines, choose = text.split(b"\n"), self.choose
        for _ in range(choose.randint(1, 4)):
            at = choose.randrange(len(lines) + 1)
            new = [
                b"%s %d" % (name, choose.choice([0, 0, 1, choose.randrange(40)])) for _ in range(choose.randint(0, 4))
            ]
            lines[at : at + choose.randint(0, 3)] = new
        return b"\n".join(lines)

    def _shown(self, number: int) -> bytes:
        when = 1_500_000_000 + 600 * (number // 2) + self.choose.choice([0, 0, 0, -9000, 7000])
        who = b"Ada <ada@example.org> %d +0200" % when
        parts = [b"commit refs/heads/work\nmark :%d\nauthor %s\ncommitter %s\n" % (number + 1, who, who)]
        message = b"Commit %d\n\nMore of it.\n" % number
        parts.append(b"data %d\n%s" % (len(message), message))
        for word, parent in zip([b"from", *[b"merge"] * 9], self.parents[number], strict=False):
            parts.append(b"%s :%d\n" % (word, parent + 1))
        if not self.parents[number]:
            parts.insert(0, b"reset refs/heads/work\n\n")
        parts.append(b"deleteall\n")
        for name, (mode, text) in sorted(self.files[number].items()):
            parts.append(b"M %s inline %s\ndata %d\n%s\n" % (mode, name, len(text), text))
        return b"".join(parts) + b"\n"


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
