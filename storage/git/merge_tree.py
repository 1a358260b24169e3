"""Merging texts by Git itself, so that a merge here is a merge there.

Git's default merge compares lines by its histogram diff, which libgit2's merge does not have: on real merges the two
differ (docs/decisions/0008-git-merges-texts.md). A merge is two commits on one base, each with one file; many are one
run of `git merge-tree --stdin`, in a repository of our own that nobody else reads and no configuration reaches.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
import weakref
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from storage.base.errors import Refused
from storage.base.ids import ObjectId
from storage.git.objects import FILE_MODE, Commit, Ident, Kind, Tree, row
from storage.git.packs import PackWriter
from storage.git.threeway import MergeUnavailable

_OLDEST_GIT = (2, 39)  # `git merge-tree --stdin`
# The folder is made anew after so much.
_MAX_MERGES = 2000
_MAX_BYTES = 256 << 20
_PREFIX = "sluice-merge-"
_FILE = b"file"
_NOBODY = Ident("merge", "merge@localhost", 1)
_CONFIG = """\
[core]
	bare = true
	repositoryformatversion = 0
	looseCompression = 0
	attributesFile = /dev/null
[merge]
	renames = false
	directoryRenames = false
	conflictStyle = {style}
"""


class MergerFailed(MergeUnavailable):
    """Git did not answer, or not as it should; nothing is known of the merge."""


class GitUnfit(Refused):
    """There is no Git on PATH, or one that is too old to merge as this does."""


class MergeTooSlow(MergerFailed):
    """Git was stopped after as long as one call may take."""


@dataclass(frozen=True, slots=True)
class Texts:
    """MergeInputs texts to be merged; a base of None is a file that did not exist."""

    base: bytes | None
    ours: bytes
    theirs: bytes

    @property
    def size(self) -> int:
        """Bytes of the three."""
        return len(self.base or b"") + len(self.ours) + len(self.theirs)


@dataclass(frozen=True, slots=True)
class Merged:
    """What Git made of a merge: the content, with conflict markers where it is not clean."""

    clean: bool
    content: bytes


class GitMerger:
    """Merges texts. Safe for threads; needs Git 2.39 or newer."""

    def __init__(self, style: str = "merge", timeout: float = 10.0) -> None:
        """Choose how conflicts are marked (`merge.conflictStyle`) and how many seconds one call may take."""
        self._style = style
        self._timeout = timeout
        self._lock = threading.Lock()
        self._folder: _Folder | None = None

    def merge(self, wanted: Sequence[Texts]) -> list[Merged]:
        """Merge each of these, in one run of Git.

        Raises MergerFailed, and MergeTooSlow where one of them takes too long.
        """
        with self._lock:
            try:
                if self._folder is None or self._folder.full:
                    self._folder = _Folder(self._style)
                return self._folder.merge(wanted, self._timeout)
            except subprocess.TimeoutExpired as error:
                self._folder = None
                raise MergeTooSlow(f"git merge-tree took longer than {self._timeout:g} seconds") from error
            except (OSError, ValueError, StopIteration, zlib.error, subprocess.SubprocessError) as error:
                self._folder = None
                raise MergerFailed(f"git merge-tree failed: {error}") from error


class _Folder:
    """A bare repository without refs, written here and merged in by Git; it goes away with this object."""

    def __init__(self, style: str) -> None:
        _sweep()
        self._path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)
        self._merges = 0
        self._bytes = 0
        for name in ("objects/pack", "refs"):
            (self._path / name).mkdir(parents=True)
        (self._path / "HEAD").write_text("ref: refs/heads/none\n")
        (self._path / "config").write_text(_CONFIG.format(style=style))
        # Nothing else: what a user or an administrator has set may not change what a merge gives.
        self._environment = {
            "GIT_DIR": str(self._path),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "LC_ALL": "C",
        }

    @property
    def full(self) -> bool:
        return self._merges >= _MAX_MERGES or self._bytes >= _MAX_BYTES

    def merge(self, wanted: Sequence[Texts], timeout: float) -> list[Merged]:
        # Objects go in as one pack: two files to write, whatever their number.
        writer = PackWriter()
        known: dict[ObjectId, bytes] = {}
        lines = []
        for texts in wanted:
            self._merges += 1
            base = self._commit(writer, known, texts.base, ())
            sides = [self._commit(writer, known, side, (base,)).hex() for side in (texts.ours, texts.theirs)]
            lines.append(" ".join(sides) + "\n")
        self._bytes += writer.size
        packs = self._path / "objects" / "pack"
        (packs / f"pack-{self._merges}.pack").write_bytes(writer.finish())
        (packs / f"pack-{self._merges}.idx").write_bytes(writer.index())
        done = subprocess.run(
            [_git(), "merge-tree", "--write-tree", "--stdin", "--no-messages", "--name-only", "-z"],
            env=self._environment, input="".join(lines).encode(), capture_output=True, timeout=timeout, check=True,
        )  # fmt: skip
        for pack in packs.iterdir():
            pack.unlink()
        if b"error: " in done.stderr:
            # Before 2.45 Git takes a tree that it cannot read for an empty one, and says so only here.
            raise ValueError(done.stderr.decode(errors="replace").strip())
        # Of each: clean or not, the tree, names of conflicted files, and an empty field.
        answers = iter(done.stdout.split(b"\0"))
        merged = []
        for _ in wanted:
            clean, tree = next(answers), next(answers)
            while next(answers):
                continue
            if clean not in (b"0", b"1"):
                raise ValueError("an answer that is neither clean nor not")
            merged.append(Merged(clean == b"1", self._content(tree, known)))
        return merged

    def _content(self, tree: bytes, known: Mapping[ObjectId, bytes]) -> bytes:
        file = Tree.parse(self._read(bytes.fromhex(tree.decode()), known)).get(_FILE)
        if file is None:
            raise ValueError("the merge has no file")
        return self._read(file.oid, known)

    def _commit(
        self,
        writer: PackWriter,
        known: dict[ObjectId, bytes],
        content: bytes | None,
        parents: tuple[ObjectId, ...],
    ) -> ObjectId:
        rows = b""
        if content is not None:
            blob = writer.add(Kind.BLOB, content, level=0)
            known[blob] = content
            rows = row(FILE_MODE, _FILE, blob)
        tree = writer.add(Kind.TREE, rows, level=0)
        known[tree] = rows
        # Each is a commit of its own, whatever its file: two sides that were one commit would be no merge.
        message = f"{len(writer)} {self._merges}\n"
        return writer.add(Kind.COMMIT, Commit(tree, parents, _NOBODY, _NOBODY, message).encode(), level=0)

    def _read(self, oid: bytes, known: Mapping[ObjectId, bytes]) -> bytes:
        """Return an object of ours, or one that Git wrote: it writes none that is there already."""
        if oid in known:
            return known[ObjectId(oid)]
        name = oid.hex()
        data = zlib.decompress((self._path / "objects" / name[:2] / name[2:]).read_bytes())
        return data[data.index(b"\0") + 1 :]


def _sweep() -> None:
    """Remove the folders of processes that are gone: a worker that is killed, or a child of a pool, leaves its own."""
    for folder in Path(tempfile.gettempdir()).glob(_PREFIX + "*"):
        owner = folder.name.removeprefix(_PREFIX).split("-")[0]
        if owner.isdigit() and not _lives(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True


def check_git() -> None:
    """Check that Git is there and new enough.

    Raises GitUnfit.
    """
    try:
        output = subprocess.run([_git(), "version"], capture_output=True, check=True, timeout=30).stdout.decode()
    except (OSError, subprocess.SubprocessError) as error:
        raise GitUnfit(f"git cannot be run: {error}") from error
    version = tuple(int(part) for part in re.findall(r"\d+", output)[:2])
    if version < _OLDEST_GIT:
        raise GitUnfit(f"{output.strip()} is too old: merging needs 2.39 or newer")


@cache
def _git() -> str:
    return shutil.which("git") or "git"
