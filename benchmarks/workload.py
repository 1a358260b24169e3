"""The input of the benchmarks: a synthetic repository and changesets for it, all from one seed.

Every text depends on the seed and its own number alone, so that a part can be made without the rest, and a larger
repository holds the files of a smaller one. `digest` pins the whole input: figures are comparable where it is equal.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

_NOUNS = (
    "account address amount archive batch binding bucket buffer cache chain channel charge client cluster column "
    "config context counter cursor deadline delta digest driver engine entry event export filter folder frame gateway "
    "group handle header history index inventory invoice item journal ledger limit lookup manifest member message "
    "metric module network node notice object offset option order owner packet parser partition payload policy pool "
    "prefix price profile quota range reader record region registry replica report request result route sample schema "
    "segment session shard signal snapshot source stage status storage stream subject table target task tenant ticket "
    "token topic trace transfer tree unit user value vendor version view volume watch window worker writer zone"
)
_DOING = "add build check close collect count fetch find flush load make merge open parse read send split store"
_WORDS, _VERBS = _NOUNS.split(), _DOING.split()

# Shapes of lines; the fields are words, verbs and a number, drawn anew for each line.
_LINES = (
    "def {verb}_{a}_{b}({a}, {b}=None, *, {c}={number}):",
    "    if {a}.{b} is None or len({c}) > {number}:",
    "        return self.{verb}_{c}({a}, {b}[{number}:])",
    "    for {a} in self._{b}.{verb}_{c}s(limit={number}):",
    "        {b} = {verb}_{c}({a}.{c}, {a})",
    "    {a}_{b} = {c}.get('{a}.{c}', {number})",
    "    log.info('{verb}_{a}', {b}={c}.{b}, {a}={number})",
    "    # The {a} of a {b} may {verb} before its {c} does: see {verb}_{c}.",
    "    raise {c}_error('cannot {verb} {a} of {b}')",
    "",
)


@dataclass(frozen=True)
class Changeset:
    """Two files with new content, inside one slice."""

    number: int
    slice: str
    message: str
    files: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Workload:
    """A repository of `files` files, and streams of changesets."""

    files: int = 10_000
    seed: int = 1
    width: int = 100  # files in a directory
    fan: int = 10  # such directories in a top-level directory
    slice_leaves: int = 10  # such directories in a slice
    team: str = "team"  # how the names of its slices begin
    file_bytes: int = 2048
    change_bytes: int = 2048

    def path(self, index: int) -> str:
        """Return the path of a file: two levels of directories."""
        leaf, name = divmod(index, self.width)
        return f"{self._folder(leaf)}file{name:03}.py"

    def tree(self) -> Iterator[tuple[str, bytes]]:
        """Yield the files of the repository before any changeset."""
        for index in range(self.files):
            yield self.path(index), text(f"{self.seed}/file/{index}", self.file_bytes)

    def slices(self) -> dict[str, list[str]]:
        """Return the slices by name, with their paths: whole top-level directories where the sizes allow it."""
        leaves, made = -(-self.files // self.width), {}
        for number, start in enumerate(range(0, leaves, self.slice_leaves)):
            own = [self._folder(leaf) for leaf in range(start, min(start + self.slice_leaves, leaves))]
            if self.slice_leaves % self.fan == 0:
                own = sorted({path.split("/")[0] + "/" for path in own})
            made[self._slice(number)] = own
        return made

    def changesets(self, count: int, run: int = 0) -> Iterator[Changeset]:
        """Yield `count` changesets, no two of which touch the same file: all land on one base without conflicts.

        Each `run` is another stream over the same files. Raises ValueError where there are not enough files.
        """
        pairs = []
        for number, start in enumerate(range(0, self.files, self.slice_leaves * self.width)):
            own = list(range(start, min(start + self.slice_leaves * self.width, self.files)))
            random.Random(f"{self.seed}/run/{run}/slice/{number}").shuffle(own)
            pairs += [(number, pair) for pair in zip(own[::2], own[1::2], strict=False)]
        if count > len(pairs):
            raise ValueError(f"{count} changesets need {2 * count} files in pairs; there are {self.files}")
        random.Random(f"{self.seed}/run/{run}").shuffle(pairs)
        for position, (number, pair) in enumerate(pairs[:count]):
            files = [(self.path(i), text(f"{self.seed}/run/{run}/file/{i}", self.change_bytes)) for i in pair]
            yield Changeset(position, self._slice(number), f"Run {run}, change {position}", tuple(files))

    def digest(self, changesets: int) -> str:
        """Return the SHA-256 of all files, and of the first run's `changesets`."""
        sha = hashlib.sha256()
        for path, content in self.tree():
            sha.update(b"%s\0%d\0%s" % (path.encode(), len(content), content))
        for changeset in self.changesets(changesets):
            for path, content in changeset.files:
                sha.update(b"%s\0%s\0%d\0%s" % (changeset.slice.encode(), path.encode(), len(content), content))
        return sha.hexdigest()

    def _folder(self, leaf: int) -> str:
        top, sub = divmod(leaf, self.fan)
        return f"pkg{top:03}/mod{sub:03}/"

    def _slice(self, number: int) -> str:
        return f"{self.team}{number:03}"


def text(key: str, size: int) -> bytes:
    """Return text of about `size` bytes that looks like source code, and compresses like it."""
    draw = random.Random(key).random
    lines, length = [f'"""{key}"""'], 0
    # Like a module, a file speaks of few things: names repeat within it.
    names = [_WORDS[int(draw() * len(_WORDS))] for _ in range(14)]
    while length < size - 20:
        line = _LINES[int(draw() * len(_LINES))].format(
            a=names[int(draw() * 14)],
            b=names[int(draw() * 14)],
            c=names[int(draw() * 14)],
            verb=_VERBS[int(draw() * len(_VERBS))],
            number=int(draw() * 1000),
        )
        lines.append(line)
        length += len(line) + 1
    return ("\n".join(lines) + "\n").encode()
