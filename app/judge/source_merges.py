"""Reading a repository's merges: what both sides changed since the merge base, as far as Sluice's API accepts it.

Only the paths that a side changed matter to a merge without renames. If a file of the base is above or below a changed
path, the same side has deleted it, so it is a changed path too.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from app.judge.judge import Judge, Trees
from app.judge.local_history import FileChange, History, HistoryError
from storage.base.ids import ObjectId
from storage.base.progress import Progress, batched_with_progress, no_progress
from storage.git.fsck import ContentError, PathError, check_content, check_path, needs_content
from storage.git.objects import MODE_TEXTS, ModeText, Version
from storage.git.run_git import GitFailed
from storage.git.threeway import contents_to_merge

# Why a merge is not compared.
NO_BASE = "no merge base"
ONE_SIDED = "one side changed nothing"
BAD_MODE = "a mode that git fsck refuses"
BAD_PATH = "a path that the API refuses"
BAD_CONTENT = "a content that the API refuses"
TOO_MANY = "too many files for a changeset"
TOO_LARGE = "too large for a changeset"

# The limits of the API's defaults, with room for base64 and for the escapes of JSON.
_MAX_CHANGES = 10_000
_MAX_BYTES = 24 << 20
_MAX_PATH_BYTES = 4096
# As long and as deep as the folders below which merges are put.
_FOLDER = b"0000/00/"

# Merges that are read by one run of each Git command.
_TOGETHER = 100

Files = dict[str, tuple[str, str]]
"""Mode and id by path."""


@dataclass(frozen=True, slots=True)
class SourceMerge:
    """A merge commit of two parents that both changed something since their merge base."""

    oid: str
    trees: Trees
    sides: tuple[list[FileChange], list[FileChange]]  # of the first parent and of the second

    @property
    def base_files(self) -> Files:
        """The files of the merge base that a side changed or deleted."""
        return {change.path: (change.old_mode, change.old_oid) for side in self.sides for change in side
                if change.old_mode}  # fmt: skip

    @property
    def merges_contents(self) -> bool:
        """Whether there is a file of which both sides changed the content, to different ones."""
        ours, theirs = ({change.path: change for change in side} for side in self.sides)
        return any(_to_merge(ours[path], theirs[path]) for path in ours.keys() & theirs.keys())


class MergeHistory(History):
    """A repository's merge commits: all that HEAD reaches."""

    def objects(self) -> Path:
        """Return the folder of the repository's objects."""
        return Path(self._line("rev-parse", "--path-format=absolute", "--git-path", "objects"))

    def merges(self, judge: Judge, skipped: Counter[str], progress: Progress = no_progress) -> Iterator[SourceMerge]:
        """Yield the merges that can be compared, newest first; count the others in `skipped`, by reason.

        Of several merge bases the first that `git merge-base` prints counts. Raises HistoryError.
        """
        listed = self._line("rev-list", "--min-parents=2", "--max-parents=2", "--parents", self.head).splitlines()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for chunk in batched_with_progress(listed, _TOGETHER, "read", progress):
                rows = [line.split() for line in chunk]
                bases = pool.map(self._merge_base, [row[1:] for row in rows])
                yield from self._read(judge, [(*row, base) for row, base in zip(rows, bases, strict=True)], skipped)

    def _read(self, judge: Judge, rows: list[tuple[str, ...]], skipped: Counter[str]) -> Iterator[SourceMerge]:
        merges = []
        for oid, ours, theirs, base in rows:
            if not base:
                skipped[NO_BASE] += 1
            elif base in (ours, theirs):
                skipped[ONE_SIDED] += 1
            else:
                merges.append((oid, base, ours, theirs))
        trees = iter(judge.trees([commit for _, *commits in merges for commit in commits]))
        threes = list(zip(trees, trees, trees, strict=True))
        sides = iter(judge.differences([(base, side) for base, *both in threes for side in both]))
        for (oid, *_), three in zip(merges, threes, strict=True):
            merge = SourceMerge(oid, three, (next(sides), next(sides)))
            reason = refusal(merge, lambda oid: self.contents([oid])[0], judge.sizes)
            if reason:
                skipped[reason] += 1
            else:
                yield merge

    def _merge_base(self, commits: list[str]) -> str:
        try:
            done = self._git.run("merge-base", *commits, accept=(0, 1))
        except GitFailed as error:
            raise HistoryError(f"{self.repository}: {error}") from error
        if done.stderr:
            raise HistoryError(f"git merge-base failed in {self.repository}: {os.fsdecode(done.stderr).strip()}")
        return done.stdout.decode().partition("\n")[0]


def refusal(merge: SourceMerge, content: Callable[[str], bytes], sizes: Callable[[list[str]], list[int]]) -> str | None:
    """Return why a merge cannot be submitted, None where it can."""
    if not all(merge.sides):
        return ONE_SIDED
    if max(map(len, merge.sides)) > _MAX_CHANGES:
        return TOO_MANY
    versions = {(change.path, change.mode, change.oid) for side in merge.sides for change in side if change.mode}
    versions |= {(path, mode, oid) for path, (mode, oid) in merge.base_files.items()}
    for path, mode, oid in sorted(versions):
        if mode not in MODE_TEXTS:
            return BAD_MODE
        raw = _FOLDER + path.encode(errors="surrogateescape")
        try:
            # Whatever the path, a link's target counts.
            if not check_path(raw, _MAX_PATH_BYTES) or mode == ModeText.SYMLINK:
                looked_at = needs_content(raw, int(mode, 8))
                check_content(raw, int(mode, 8), content(oid) if looked_at else None)
        except PathError:
            return BAD_PATH
        except ContentError:
            return BAD_CONTENT
    sent = [sorted({c.oid for c in side if c.mode and c.mode != ModeText.SUBMODULE}) for side in merge.sides]
    known = iter(sizes(sent[0] + sent[1]))
    return TOO_LARGE if max(sum(islice(known, len(blobs))) for blobs in sent) > _MAX_BYTES else None


def after(files: Files, changes: list[FileChange]) -> Files:
    """Return `files` as they are after `changes`."""
    gone = {change.path for change in changes}
    return {path: version for path, version in files.items() if path not in gone} | {
        change.path: (change.mode, change.oid) for change in changes if change.mode
    }


def _to_merge(ours: FileChange, theirs: FileChange) -> bool:
    base = _version(ours.old_mode, ours.old_oid)
    return contents_to_merge(base, _version(ours.mode, ours.oid), _version(theirs.mode, theirs.oid)) is not None


def _version(mode: str, oid: str) -> Version | None:
    return Version(int(mode, 8), ObjectId(bytes.fromhex(oid))) if mode else None
