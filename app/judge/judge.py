"""Git as the judge of merges: its own verdict and tree, for trees of a repository that is only read.

Everything happens in a bare repository of our own, which has the source's objects (`objects/info/alternates`) and those
that Git makes here. No configuration or attributes apply. A merge is two commits on one, written for the three trees;
many are one run of `git merge-tree --stdin`. Renames are off if Git can switch them off (from 2.50 on); see
app/judge/renames.py for older versions.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from types import TracebackType

from app.judge.local_history import FileChange, HistoryError
from storage.base.ids import ObjectId
from storage.git.objects import TREE_MODE, Commit, Ident, Kind, row
from storage.git.packs import PackWriter
from storage.git.run_git import Git, GitFailed, isolated_environment

_NOBODY = Ident("judge", "judge@localhost", 1)
_ABSENT = "000000"
_CONFIG = """\
[core]
	bare = true
	repositoryformatversion = 0
	attributesFile = /dev/null
[merge]
	renames = false
	directoryRenames = false
"""

Trees = tuple[str, str, str]
"""The trees of a merge base, of the first side and of the second."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What Git says of a merge."""

    clean: bool
    tree: str  # of the merge; with conflict markers in it where it is not clean
    paths: tuple[str, ...] = ()  # those that conflict, as Git names them


class Judge:
    """A bare repository on top of another one's objects, removed at the end of the context."""

    def __init__(self, objects: Path) -> None:
        """Name the folder of the source's objects."""
        self._objects = objects
        self._pack = PackWriter()  # what the next merges are made of
        self._packs = 0

    def __enter__(self) -> Judge:
        """Make the repository."""
        self._folder = Path(tempfile.mkdtemp(prefix="sluice-judge-"))
        for name in ("objects/pack", "objects/info", "refs"):
            (self._folder / name).mkdir(parents=True)
        (self._folder / "HEAD").write_text("ref: refs/heads/none\n")
        (self._folder / "config").write_text(_CONFIG)
        (self._folder / "objects" / "info" / "alternates").write_text(f"{self._objects}\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove it."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def trees(self, commits: Sequence[str]) -> list[str]:
        """Return the commits' trees."""
        return self._ask("%(objectname)", [f"{commit}^{{tree}}" for commit in commits])

    def sizes(self, blobs: Sequence[str]) -> list[int]:
        """Return the blobs' sizes in bytes."""
        return [int(size) for size in self._ask("%(objectsize)", blobs)]

    def differences(self, pairs: Sequence[tuple[str, str]]) -> list[list[FileChange]]:
        """Return the files that differ between two trees, for each of `pairs`."""
        arguments = ("diff-tree", "--stdin", "-r", "-z", "--raw", "--no-renames", "--no-abbrev")
        found = parse_differences(self._git(*arguments, lines=[f"{old} {new}" for old, new in pairs]))
        if len(found) != len(pairs):
            raise HistoryError(f"git diff-tree compared {len(found)} of {len(pairs)} trees")
        return found

    def tree(self, files: Mapping[str, tuple[str, str]]) -> str:
        """Return the tree with `files`, mode and id by path; the next merges may name it."""
        rows: dict[bytes, bytes] = {}
        folders: dict[str, dict[str, tuple[str, str]]] = {}
        for path, (mode, oid) in files.items():
            name, slash, below = path.partition("/")
            if slash:
                folders.setdefault(name, {})[below] = (mode, oid)
            else:
                rows[name.encode()] = row(int(mode, 8), name.encode(), bytes.fromhex(oid))
        for name, inside in folders.items():
            rows[name.encode() + b"/"] = row(TREE_MODE, name.encode(), bytes.fromhex(self.tree(inside)))
        return self._pack.add(Kind.TREE, b"".join(rows[key] for key in sorted(rows))).hex()

    def verdicts(self, merges: Sequence[Trees]) -> list[Verdict]:
        """Merge each of these."""
        pack, self._pack = self._pack, PackWriter()
        lines = []
        for base, ours, theirs in merges:
            root = _commit(pack, base, ())
            lines.append(f"{_commit(pack, ours, (root,)).hex()} {_commit(pack, theirs, (root,)).hex()}")
        self._packs += 1
        path = self._folder / "objects" / "pack" / f"pack-{self._packs}"
        path.with_suffix(".pack").write_bytes(pack.finish())
        path.with_suffix(".idx").write_bytes(pack.index())
        arguments = ("merge-tree", "--write-tree", "--stdin", "--no-messages", "--name-only", "-z")
        return parse_verdicts(self._git(*arguments, lines=lines), len(merges))

    def _ask(self, form: str, names: Sequence[str]) -> list[str]:
        answers = self._git("cat-file", f"--batch-check={form}", lines=names).decode().splitlines()
        for answer in answers:
            if answer.endswith(" missing"):
                raise HistoryError(f"{answer.split()[0]} is not in {self._objects}: is it a partial clone?")
        return answers

    def _git(self, *arguments: str, lines: Iterable[str]) -> bytes:
        given = "".join([f"{line}\n" for line in lines]).encode()
        try:
            done = Git(environment=isolated_environment(self._folder)).run(*arguments, stdin=given)
        except GitFailed as error:
            raise HistoryError(str(error)) from error
        # Before 2.45, to merge-tree a tree that it cannot read is an empty one: it complains, and ends well.
        if b"error: " in done.stderr:
            raise HistoryError(f"git {arguments[0]} failed: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout


def parse_differences(output: bytes) -> list[list[FileChange]]:
    """Read `git diff-tree --stdin -z --raw` of pairs of trees. Paths that are not UTF-8 have surrogates in them."""
    found: list[list[FileChange]] = []
    fields = iter(output.split(b"\0"))
    for field in fields:
        # Before a pair's first change, and where it has none, stands a line with the pair's ids.
        *heads, meta = field.split(b"\n")
        found += [[] for _ in heads]
        if meta:
            found[-1].append(_change(meta.decode(), next(fields).decode(errors="surrogateescape")))
    return found


def parse_verdicts(output: bytes, count: int) -> list[Verdict]:
    """Read `git merge-tree --stdin --name-only --no-messages -z`: clean or not, tree, paths, and an empty field."""
    fields = iter(output.split(b"\0"))
    found = []
    try:
        for _ in range(count):
            clean, tree = next(fields), next(fields)
            paths = []
            while path := next(fields):
                paths.append(path.decode(errors="surrogateescape"))
            if clean not in (b"0", b"1"):
                raise HistoryError("git merge-tree gave an answer that is neither clean nor not")
            found.append(Verdict(clean == b"1", tree.decode(), tuple(paths)))
    except StopIteration:
        raise HistoryError(f"git merge-tree gave {len(found)} of {count} answers") from None
    return found


def _change(meta: str, path: str) -> FileChange:
    # Merges share most of their paths and ids: held once, they take a fraction of the memory.
    path, old_mode, mode, old_oid, oid = map(intern, (path, *meta.removeprefix(":").split(" ")[:4]))
    new = ("", "") if mode == _ABSENT else (mode, oid)
    old = ("", "") if old_mode == _ABSENT else (old_mode, old_oid)
    return FileChange(path, *new, *old)


def _commit(pack: PackWriter, tree: str, parents: tuple[ObjectId, ...]) -> ObjectId:
    # The number makes each a commit of its own: two sides that were one commit would be no merge.
    commit = Commit(ObjectId(bytes.fromhex(tree)), parents, _NOBODY, _NOBODY, f"{len(pack)}\n")
    return pack.add(Kind.COMMIT, commit.encode())
