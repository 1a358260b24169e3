"""The files of a download as rows of trees: what manifests and archives are made of. Pure."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from storage.base.ids import ObjectId
from storage.git.objects import canonical
from storage.git.trees import Run

# A mode's six digits, the space behind them, and the NUL and the id at the end of a row.
NAME = slice(7, -21)
MODE = slice(0, 6)
OID = slice(-20, None)


class File(NamedTuple):
    """A file, a symlink or a submodule."""

    path: bytes
    mode: int
    oid: ObjectId


def files_of(runs: Iterable[Run]) -> Iterator[File]:
    """Yield the files of runs."""
    for run in runs:
        base = run.base
        for row in run.rows:
            yield File(base + row[NAME], canonical(int(row[MODE], 8)), ObjectId(row[OID]))


class Directories:
    """Which directories an archive has named: all that are above its files, each before what it has."""

    def __init__(self) -> None:
        self._last = b""  # the directory of the last file

    def above(self, path: bytes) -> list[bytes]:
        """Return the directories of the next file, in the order of trees, that were not named before."""
        base = path[: path.rfind(b"/") + 1]
        last = self._last
        if base == last:
            return []
        # One above the last directory was named with it.
        self._last = base
        ends = [i + 1 for i in range(len(base)) if base[i : i + 1] == b"/"]
        return [base[:end] for end in ends if not last.startswith(base[:end])]
