"""Git as the judge of merges: its own verdict and tree, for trees of a repository that is only read.

Everything happens in a bare repository of our own, which has the source's objects (`objects/info/alternates`) and those
that Git makes here. No configuration or attributes apply. A merge is two commits on one, written for the three trees;
many are one run of `git merge-tree --stdin`. Renames are off if Git can switch them off (from 2.50 on); see
app/judge/renames.py for older versions.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from app.judge.local_history import FileChange, HistoryError
from storage.base.ids import ObjectId
from storage.git.merge_tree import NO_RENAMES, TreeMerge, merge_commits
from storage.git.objects import TREE_MODE, Commit, Ident, Kind, row
from storage.git.packs import PackWriter
from storage.git.run_git import GitFailed, ScratchRepository

_NOBODY = Ident("judge", "judge@localhost", 1)
Trees = tuple[str, str, str]
"""The trees of a merge base, of the first side and of the second."""


class Judge(ScratchRepository):
    """A bare repository on top of another one's objects, removed at the end of the context."""

    def __init__(self, objects: Path) -> None:
        """Name the folder of the source's objects."""
        super().__init__("judge", NO_RENAMES, alternates=objects)
        self._objects = objects
        self._pack = PackWriter()  # what the next merges are made of
        self._packs = 0

    def trees(self, commits: Sequence[str]) -> list[str]:
        """Return the commits' trees."""
        return self._ask("%(objectname)", [f"{commit}^{{tree}}" for commit in commits])

    def sizes(self, blobs: Sequence[str]) -> list[int]:
        """Return the blobs' sizes in bytes."""
        return [int(size) for size in self._ask("%(objectsize)", blobs)]

    def differences(self, pairs: Sequence[tuple[str, str]]) -> list[list[FileChange]]:
        """Return the files that differ between two trees, for each of `pairs`."""
        arguments = ("diff-tree", "--stdin", "-r", "-z", "--raw", "--no-renames", "--no-abbrev")
        compared = parse_differences(self._output(*arguments, lines=[f"{old} {new}" for old, new in pairs]))
        if len(compared) != len(pairs):
            raise HistoryError(f"git diff-tree compared {len(compared)} of {len(pairs)} trees")
        return compared

    def tree(self, files: Mapping[str, tuple[str, str]]) -> str:
        """Return the tree with `files`, mode and id by path; the next merges may name it."""
        rows: dict[bytes, bytes] = {}
        folders: dict[str, dict[str, tuple[str, str]]] = {}
        for path, (mode, oid) in files.items():
            name, slash, below = path.partition("/")
            if slash:
                folders.setdefault(name, {})[below] = (mode, oid)
            else:
                raw = name.encode(errors="surrogateescape")
                rows[raw] = row(int(mode, 8), raw, bytes.fromhex(oid))
        for name, inside in folders.items():
            raw = name.encode(errors="surrogateescape")
            rows[raw + b"/"] = row(TREE_MODE, raw, bytes.fromhex(self.tree(inside)))
        return self._pack.add(Kind.TREE, b"".join(rows[key] for key in sorted(rows))).hex()

    def verdicts(self, merges: Sequence[Trees]) -> list[TreeMerge]:
        """Merge each of these."""
        pack, self._pack = self._pack, PackWriter()
        pairs = []
        for base, ours, theirs in merges:
            root = _commit(pack, base, ())
            pairs.append((_commit(pack, ours, (root,)).hex(), _commit(pack, theirs, (root,)).hex()))
        self._packs += 1
        self.add_pack(str(self._packs), pack)
        try:
            return merge_commits(self.git, pairs)
        except GitFailed as error:
            raise HistoryError(str(error)) from error

    def _ask(self, form: str, names: Sequence[str]) -> list[str]:
        answers = self._output("cat-file", f"--batch-check={form}", lines=names).decode().splitlines()
        for answer in answers:
            if answer.endswith(" missing"):
                raise HistoryError(f"{answer.split()[0]} is not in {self._objects}: is it a partial clone?")
        return answers

    def _output(self, *arguments: str, lines: Iterable[str]) -> bytes:
        try:
            return self.git.output(*arguments, stdin="".join([f"{line}\n" for line in lines]).encode())
        except GitFailed as error:
            raise HistoryError(str(error)) from error


def parse_differences(output: bytes) -> list[list[FileChange]]:
    """Read `git diff-tree --stdin -z --raw` of pairs of trees. Paths that are not UTF-8 have surrogates in them."""
    differences: list[list[FileChange]] = []
    fields = iter(output.split(b"\0"))
    for field in fields:
        # Before a pair's first change, and where it has none, stands a line with the pair's ids.
        *heads, meta = field.split(b"\n")
        differences += [[] for _ in heads]
        if meta:
            differences[-1].append(FileChange.parse(meta.decode(), next(fields).decode(errors="surrogateescape")))
    return differences


def _commit(pack: PackWriter, tree: str, parents: tuple[ObjectId, ...]) -> ObjectId:
    # The number makes each a commit of its own: two sides that were one commit would be no merge.
    commit = Commit(ObjectId(bytes.fromhex(tree)), parents, _NOBODY, _NOBODY, f"{len(pack)}\n")
    return pack.add(Kind.COMMIT, commit.encode())
