"""Merging texts by Git itself, so that a merge has the same result here and in Git.

Git's default merge compares lines by its histogram diff, which libgit2's merge does not have: on real merges the two
differ (docs/decisions/0008-git-merges-texts.md). A merge is two commits on one base, each with one file; many merges
are one run of `git merge-tree --stdin`, in a private repository to which no configuration applies.
"""

import re
import subprocess
import threading
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from storage.base.errors import Refused
from storage.base.ids import ObjectId
from storage.git.objects import FILE_MODE, Commit, Ident, Kind, Tree, row
from storage.git.packs import PackWriter
from storage.git.run_git import Git, GitFailed, ScratchRepository, plain_environment
from storage.git.threeway import MergeUnavailable

_OLDEST_GIT = (2, 39)  # `git merge-tree --stdin`
# The folder is made anew after so much.
_MAX_MERGES = 2000
_MAX_BYTES = 256 << 20
# Texts of calls that share a run: they bound its memory, and how long a call may wait for those of others.
_TOGETHER = 100
_BYTES_TOGETHER = 4 << 20
_FILE = b"file"
_NOBODY = Ident("merge", "merge@localhost", 1)
NO_RENAMES = """\
[merge]
	renames = false
	directoryRenames = false
"""
"""A scratch repository's configuration for merges that follow no renames, where Git has a setting for it (2.50)."""

_CONFIG = """\
[merge]
	conflictStyle = {style}
[core]
	looseCompression = 0
"""


class MergerFailed(MergeUnavailable):
    """Git did not answer, or not as expected; the result of the merge is unknown."""


class GitUnfit(Refused):
    """There is no Git on PATH, or it is too old for these merges."""


class MergeTooSlow(MergerFailed):
    """Git was stopped because a call took too long."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Three texts to be merged; a base of None is a file that did not exist."""

    base: bytes | None
    ours: bytes
    theirs: bytes

    @property
    def size(self) -> int:
        """Bytes of the three."""
        return len(self.base or b"") + len(self.ours) + len(self.theirs)


class TreeMerge(NamedTuple):
    """What Git made of two commits on one base."""

    clean: bool
    tree: str  # of the merge; with conflict markers in it where it is not clean
    paths: tuple[str, ...] = ()  # those that conflict, as Git names them; what is not UTF-8 is half surrogates


def merge_commits(git: Git, pairs: Sequence[tuple[str, str]], timeout: float | None = None) -> list[TreeMerge]:
    """Merge pairs of commits on their merge bases, in one run of Git. Raises GitFailed and TimeoutExpired."""
    lines = "".join([f"{ours} {theirs}\n" for ours, theirs in pairs]).encode()
    done = git.run(
        "merge-tree", "--write-tree", "--stdin", "--no-messages", "--name-only", "-z", stdin=lines, timeout=timeout
    )
    # Before 2.45 Git takes a tree that it cannot read for an empty one, and says so only here.
    if b"error: " in done.stderr:
        raise GitFailed("merge-tree", 0, done.stderr.decode(errors="replace").strip())
    return parse_merges(done.stdout, len(pairs))


def parse_merges(output: bytes, count: int) -> list[TreeMerge]:
    """Read `git merge-tree --stdin --name-only --no-messages -z`: clean or not, tree, paths, and an empty field.

    Raises GitFailed where it is not the output of so many merges.
    """
    fields = iter(output.split(b"\0"))
    merges: list[TreeMerge] = []
    try:
        for _ in range(count):
            clean, tree = next(fields), next(fields)
            paths = []
            while path := next(fields):
                paths.append(path.decode(errors="surrogateescape"))
            if clean not in (b"0", b"1"):
                raise GitFailed("merge-tree", 0, "an answer is neither clean nor not")
            merges.append(TreeMerge(clean == b"1", tree.decode(), tuple(paths)))
    except StopIteration:
        raise GitFailed("merge-tree", 0, f"it gave {len(merges)} of {count} answers") from None
    return merges


@dataclass(frozen=True, slots=True)
class Merged:
    """What Git made of three texts: the content, with conflict markers where it is not clean."""

    clean: bool
    content: bytes


class _Call:
    """Texts that one caller waits for."""

    def __init__(self, wanted: Sequence[Texts]) -> None:
        self.wanted = wanted
        self.size = sum(texts.size for texts in wanted)
        self.merged: list[Merged] | None = None
        self.alone = False  # after a run that failed: whose texts made it fail is not known


class GitMerger:
    """Merges texts. Safe for threads; needs Git 2.39 or newer.

    Calls that wait while Git runs share its next run: starting Git takes longer than merging what a person wrote.
    """

    def __init__(self, style: str = "merge", timeout: float = 10.0) -> None:
        """Choose how conflicts are marked (`merge.conflictStyle`) and how many seconds one run may take."""
        self._style = style
        self._timeout = timeout
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()
        self._folder: _Folder | None = None

    def merge(self, wanted: Sequence[Texts]) -> list[Merged]:
        """Merge each in one run of Git. Raises MergerFailed, and MergeTooSlow where one takes too long."""
        call = _Call(wanted)
        self._waiting.append(call)
        try:
            with self._lock:
                while call.merged is None:
                    self._run([call] if call.alone else self._together(call))
        finally:
            self._forget(call)
        return call.merged

    def _together(self, call: _Call) -> list[_Call]:
        """Take the call from those that wait, and as many others as one run may have."""
        self._forget(call)
        taken, count, size = [call], len(call.wanted), call.size
        for other in list(self._waiting):
            count, size = count + len(other.wanted), size + other.size
            if count > _TOGETHER or size > _BYTES_TOGETHER:
                break
            self._forget(other)
            taken.append(other)
        return taken

    def _forget(self, call: _Call) -> None:
        with suppress(ValueError):  # somebody took it
            self._waiting.remove(call)

    def _run(self, calls: Sequence[_Call]) -> None:
        """Merge what the calls want; where that fails, each of several has to be tried alone."""
        try:
            merged = iter(self._merge([texts for call in calls for texts in call.wanted]))
        except MergerFailed:
            if len(calls) == 1:
                raise
            for call in calls:
                call.alone = True
            return
        for call in calls:
            call.merged = list(islice(merged, len(call.wanted)))

    def _merge(self, wanted: Sequence[Texts]) -> list[Merged]:
        try:
            if self._folder is None or self._folder.full:
                self._folder = _Folder(self._style)
            return self._folder.merge(wanted, self._timeout)
        except subprocess.TimeoutExpired as error:
            self._folder = None
            raise MergeTooSlow(f"git merge-tree took longer than {self._timeout:g} seconds") from error
        except (OSError, ValueError, zlib.error, GitFailed) as error:
            self._folder = None
            raise MergerFailed(f"texts were not merged: {error}") from error


class _Folder:
    """A bare repository without refs, in which Git merges the objects written here; removed with this object."""

    def __init__(self, style: str) -> None:
        self._repository = ScratchRepository("merge", NO_RENAMES + _CONFIG.format(style=style))
        self._merges = 0
        self._bytes = 0

    @property
    def full(self) -> bool:
        return self._merges >= _MAX_MERGES or self._bytes >= _MAX_BYTES

    def merge(self, wanted: Sequence[Texts], timeout: float) -> list[Merged]:
        # Objects go in as one pack: two files to write, whatever their number.
        writer = PackWriter()
        known: dict[ObjectId, bytes] = {}
        pairs = []
        for texts in wanted:
            self._merges += 1
            base = self._commit(writer, known, texts.base, ())
            ours, theirs = (self._commit(writer, known, side, (base,)).hex() for side in (texts.ours, texts.theirs))
            pairs.append((ours, theirs))
        self._bytes += writer.size
        self._repository.add_pack(str(self._merges), writer)
        merges = merge_commits(self._repository.git, pairs, timeout)
        for pack in self._repository.packs.iterdir():
            pack.unlink()
        return [Merged(merge.clean, self._content(merge.tree, known)) for merge in merges]

    def _content(self, tree: str, known: Mapping[ObjectId, bytes]) -> bytes:
        file = Tree.parse(self._read(bytes.fromhex(tree), known)).get(_FILE)
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
        data = zlib.decompress((self._repository.folder / "objects" / name[:2] / name[2:]).read_bytes())
        return data[data.index(b"\0") + 1 :]


def check_git() -> None:
    """Check that Git is there and new enough. Raises GitUnfit."""
    try:
        output = Git(environment=plain_environment()).run("version", timeout=30).stdout.decode()
    except (GitFailed, subprocess.TimeoutExpired) as error:
        raise GitUnfit(f"git cannot be run: {error}") from error
    version = tuple(int(part) for part in re.findall(r"\d+", output)[:2])
    if version < _OLDEST_GIT:
        raise GitUnfit(f"{output.strip()} is too old: merging needs 2.39 or newer")
