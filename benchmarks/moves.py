"""Real merges with renames: what conflicts without moves, with recorded moves, and in Git with merge.renames=true.

`python -m benchmarks.moves REPOSITORY... [--limit N] [--json FILE]`: the newest merges of two parents with one merge
base. Both parents' changes since that base are linked as two changesets on it, by the code that links batches, on the
repository's own trees: once as puts and deletes, and once with what a push would say of renames, which is what
`git diff -M` finds between the base and each side. Git merges the same two commits with its defaults.

A merge is right in Git where the tree that it makes without conflict is that of the merge commit. Where Git is right,
and Sluice with moves has another tree or a conflict, the merge is listed with its reason.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pygit2

from storage.base.batched import batched
from storage.base.ids import ChangesetId, ObjectId, PackId, SliceId
from storage.base.settings import Settings
from storage.commit.link import BatchSources, Linked, Linker
from storage.git.merge_tree import TreeMerge, merge_commits
from storage.git.objects import Ident, Tree
from storage.git.run_git import ScratchRepository
from storage.git.trees import diff
from storage.log.entry import NO_HASH
from storage.log.manifest import Changeset, Proposal
from storage.log.records import Decided, Status
from storage.lookup.content_merges import ContentMerges
from storage.view.snapshot import Head, Slice, Snapshot

_TOGETHER = 100
_WHO = Ident("A", "a@example.org", 1)
_EVERYTHING = SliceId("all")
_RENAMES = "[merge]\n\trenames = true\n\trenameLimit = 7000\n"
# As Git's merge looks for renames.
_DIFF = ("diff-tree", "--stdin", "-r", "-z", "--raw", "--no-abbrev", "-l7000")


@dataclass(frozen=True, slots=True)
class Source:
    """A merge commit, and what its parents have since their merge base."""

    commit: str
    base: str
    sides: tuple[str, str]


@dataclass(slots=True)
class Study:
    """What became of the merges of one repository."""

    name: str
    merges: int = 0
    with_renames: int = 0  # of them: a side renames a file
    git_conflicts: int = 0
    plain_conflicts: int = 0  # without moves
    moved_conflicts: int = 0  # with moves
    git_right: int = 0  # clean, and the merge commit's own tree
    moved_right: int = 0
    differs: int = 0  # Git is right, and Sluice with moves is not the same
    skipped: Counter[str] = field(default_factory=Counter)
    listed: list[dict[str, str]] = field(default_factory=list)

    def row(self) -> dict[str, object]:
        """Return the counts."""
        names = ("merges", "with_renames", "git_conflicts", "plain_conflicts", "moved_conflicts", "git_right",
                 "moved_right", "differs")  # fmt: skip
        return {"name": self.name, **{name: getattr(self, name) for name in names}, "skipped": dict(self.skipped)}


class Merges:
    """The merges of one repository, which is only read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.repo = pygit2.Repository(str(path))
        self._trees: dict[ObjectId, Tree] = {}
        self._merge = ContentMerges(Settings())

    def git(self, *arguments: str, lines: Sequence[str] = ()) -> bytes:
        """Return what a Git command prints."""
        stdin = "".join(f"{line}\n" for line in lines).encode()
        done = subprocess.run(["git", "-C", str(self._path), *arguments], input=stdin, capture_output=True, check=True)
        return done.stdout

    def sources(self, skipped: Counter[str]) -> Iterator[Source]:
        """Yield the merges of two parents, newest first."""
        rows = self.git("rev-list", "--min-parents=2", "--max-parents=2", "--parents", "HEAD").decode().splitlines()
        for commit, ours, theirs in (row.split() for row in rows):
            done = subprocess.run(
                ["git", "-C", str(self._path), "merge-base", "--all", ours, theirs], capture_output=True, check=False
            )
            bases = done.stdout.decode().split()
            if len(bases) != 1:
                skipped["several merge bases, or none"] += 1
            elif bases[0] in (ours, theirs):
                skipped["one side changed nothing"] += 1
            else:
                yield Source(commit, bases[0], (ours, theirs))

    def tree_of(self, commit: str) -> ObjectId:
        """Return a commit's tree."""
        return ObjectId(self.repo[commit].peel(pygit2.Commit).tree.id.raw)

    def tree(self, oid: ObjectId) -> Tree:
        """Return a tree."""
        if oid not in self._trees:
            if len(self._trees) > 20_000:
                self._trees.clear()
            self._trees[oid] = Tree.parse(self.repo.read(pygit2.Oid(raw=oid))[1])
        return self._trees[oid]

    def changes(self, pairs: Sequence[tuple[str, str]], *options: str) -> list[tuple[Proposal, ...]]:
        """Return what each side of `pairs` changed, as changesets say it."""
        output = self.git(*_DIFF, *options, lines=[f"{old} {new}" for old, new in pairs])
        made: list[list[Proposal]] = []
        fields = iter(output.split(b"\0"))
        for each in fields:
            *heads, meta = each.split(b"\n")
            made += [[] for _ in heads]
            if not meta:
                continue
            _, mode, _, oid, status = meta[1:].split(b" ")
            path, new = next(fields), ObjectId(bytes.fromhex(oid.decode()))
            if status.startswith(b"R"):
                made[-1].append(Proposal("delete", path, 0))
                made[-1].append(Proposal("move", next(fields), int(mode, 8), oid=new, source=path))
            elif status == b"D":
                made[-1].append(Proposal("delete", path, 0))
            else:
                made[-1].append(Proposal("put", path, int(mode, 8), oid=new))
        return [tuple(changes) for changes in made]

    def link(self, source: Source, sides: Sequence[tuple[Proposal, ...]]) -> Linked:
        """Return what becomes of the two sides, the first parent's first."""
        base = ObjectId(bytes.fromhex(source.base))
        tree = self.tree_of(source.base)
        head = Head(1, NO_HASH, "00" * 20, 0, tree.hex(), "00" * 20, tree.hex(), 0, 1, 1, 0, 0)  # type: ignore[arg-type]
        snapshot = Snapshot("e", head, {_EVERYTHING: Slice(_EVERYTHING, "all", frozenset([b"/"]), 1)}, {}, {})
        stored = BatchSources(
            tree=self.tree, commit_tree={base: tree}.get, outcome=lambda _: None, changes=lambda *_: (),
            blob=lambda oid, _: self.repo.read(pygit2.Oid(raw=oid))[1], merge=self._merge,
        )  # fmt: skip
        submitted = [
            Changeset(
                id=ChangesetId(f"side-{i}"), pack=PackId("inbox/p"), slice=_EVERYTHING, base_commit=base, author=_WHO,
                message="m", changes=changes,
            )
            for i, changes in enumerate(sides)
        ]  # fmt: skip
        linker = Linker(snapshot, stored, committer=_WHO)
        linked = linker.run(submitted)
        self.read = linker.read
        return linked


def study(path: Path, limit: int) -> Study:
    """Merge the newest merges of a repository."""
    merges, report = Merges(path), Study(path.name)
    objects = Path(merges.git("rev-parse", "--path-format=absolute", "--git-path", "objects").decode().strip())
    with ScratchRepository("moves", _RENAMES, alternates=objects) as scratch:
        for some in batched(islice(merges.sources(report.skipped), limit), _TOGETHER):
            verdicts = merge_commits(scratch.git, [source.sides for source in some])
            trees = {each: merges.tree_of(each).hex() for source in some for each in (source.base, *source.sides)}
            pairs = [(trees[source.base], trees[side]) for source in some for side in source.sides]
            plain, moved = merges.changes(pairs, "--no-renames"), merges.changes(pairs, "-M")
            for i, (source, verdict) in enumerate(zip(some, verdicts, strict=True)):
                own = slice(2 * i, 2 * i + 2)
                try:
                    _compare(merges, report, source, verdict, plain[own], moved[own])
                except UnicodeDecodeError:
                    report.skipped["a path that is not UTF-8"] += 1
    return report


def _compare(
    merges: Merges,
    report: Study,
    source: Source,
    verdict: TreeMerge,
    plain: Sequence[tuple[Proposal, ...]],
    moved: Sequence[tuple[Proposal, ...]],
) -> None:
    without = merges.link(source, plain)
    made = merges.link(source, moved)
    wanted = merges.tree_of(source.commit)
    report.merges += 1
    report.with_renames += any(change.source is not None for side in moved for change in side)
    report.git_conflicts += not verdict.clean
    report.plain_conflicts += without.committed < 2
    report.moved_conflicts += made.committed < 2
    right = verdict.clean and verdict.tree == wanted.hex()
    report.git_right += right
    report.moved_right += made.committed == 2 and made.root == wanted
    if right and (made.committed < 2 or made.root != wanted):
        report.differs += 1
        report.listed.append({"merge": source.commit, "reason": _reason(merges, made, wanted)})


def _reason(merges: Merges, made: Linked, wanted: ObjectId) -> str:
    late = made.decided[-1]
    if made.committed < 2:
        return "; ".join(_conflicts(late)) or f"{late.reason}: {late.detail}"
    differing = [change[0] for change in islice(diff(merges.read, wanted, made.root), 5)]
    return f"another tree at {', '.join(map(repr, differing))}"


def _conflicts(record: Decided) -> Iterator[str]:
    assert record.status in (Status.CONFLICTED, Status.REJECTED)
    for conflict in record.conflicts[:3]:
        yield f"{conflict.kind} at {conflict.path}" + (f", in the head {conflict.moved}" if conflict.moved else "")


def table(studies: Sequence[Study]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield ("| repository | merges | with renames | Git conflicts | without moves | with moves | Git is right"
           " | with moves right | right in Git, and otherwise here |")  # fmt: skip
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    total = Study("all")
    for each in studies:
        for name, value in each.row().items():
            if isinstance(value, int):
                setattr(total, name, getattr(total, name) + value)
    for each in (*studies, total):
        yield (f"| {each.name} | {each.merges} | {each.with_renames} | {each.git_conflicts} | {each.plain_conflicts}"
               f" | {each.moved_conflicts} | {each.git_right} | {each.moved_right} | {each.differs} |")  # fmt: skip


def main() -> None:
    """Print the table and what is listed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("repositories", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, default=500, help="the newest merges of each")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    studies = []
    for path in options.repositories:
        studies.append(study(path, options.limit))
        print(json.dumps(studies[-1].row()), flush=True)
    if options.json:
        options.json.write_text(json.dumps([each.row() | {"listed": each.listed} for each in studies], indent=1))
    print("\n".join(table(studies)))
    for each in studies:
        for row in each.listed:
            print(f"{each.name} {row['merge'][:12]} {row['reason']}")


if __name__ == "__main__":
    main()
