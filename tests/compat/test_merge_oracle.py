"""Two changesets on one base land as `git merge-tree` merges them: the verdict, the root, the paths that collide.

Random bases, and what two writers did to them at once. The first is landed, which cannot conflict; then the second, in
the same batch or in the next. A merge is named by its example and number: `Case("7/31")` makes it again.
"""

from __future__ import annotations

import random
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.git.objects import (
    EXECUTABLE_MODE,
    FILE_MODE,
    REGULAR_MODES,
    SUBMODULE_MODE,
    SYMLINK_MODE,
    Commit,
    Ident,
    Kind,
    Version,
    object_id,
)
from storage.git.packs import PackWriter
from storage.git.threeway import ConflictClass, contents_to_merge
from storage.log.manifest import Proposal
from storage.lookup.content_merges import ContentMerges
from tests.support.git_oracle import GitOracle
from tests.support.link_bench import BASE, LinkBench, changeset, chmod, delete, put
from tests.support.trees import Trees, consistent

EXAMPLES, MERGES = 80, 50
# Each example is one run of Git; shrinking them would take minutes, and the smallest failure is shown instead.
MANY = settings(max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))

Files = dict[bytes, Version]

# Few names, so that both sides meet and files stand where directories stood; `a.` and `a0` sort around `a/`.
NAMES = [b"a", b"a.", b"a0", b"b", "ü".encode(), b"c c"]
# Few lines, so that they repeat and an edit fits in more than one place.
LINES = [b"", b"{", b"}", b"  return x", b"one", b"two", b"three", "vier ü".encode(), b"<<<<<<< x", b"======="]
# Contents that merge with each other, where they are texts and not targets of symlinks; and some that never do.
SMALL = [b"1\n2\n3\n4\n5\n", b"x\n2\n3\n4\n5\n", b"1\n2\n3\n4\ny\n", b"1\n2\n3\n4\n5\n6", b"a", b"1\n2\n3\n4\n5\n\0"]
# What Git compares files by to find renames: lines, long ones in pieces.
_PIECE = re.compile(rb"[^\n]{0,63}\n|[^\n]{1,64}")
WHO = Ident("A", "a@example.org", 1)


class Case:
    """A base and what two sides made of it, by a name that stands for all of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.blobs: dict[ObjectId, bytes] = {}
        self._random = random.Random(name)
        count = self._random.choice([1, 2, 3, 4, 6, 9])
        self.base: Files = consistent({self._path(): self._version() for _ in range(count)})
        # In most cases there is a file whose lines both sides edit, or a path where both put what they like.
        self._edited_path = self._rewritten_path = None
        met = self._random.choice(sorted(self.base))
        how = self._random.random()
        if how < 0.5:
            self.base[met] = Version(FILE_MODE, self._blob(self._text(10, 20, 40)))
            self._edited_path = met
        elif how < 0.7:
            self.base[met] = self._small_version()
            self._rewritten_path = met
        self.first = self._edited(self.base)
        # Some of what both did is the same.
        copied = self._random.random() < 0.15
        self.second = self._edited(self.first if copied else self.base)
        self.one_batch = self._random.random() < 0.5

    def changes(self, side: Files) -> tuple[Proposal, ...]:
        """Return what a writer submits who turned the base into `side`, in any order."""
        changes = [delete(path) for path in self.base.keys() - side.keys()]
        for path, version in side.items():
            old = self.base.get(path)
            regular = old is not None and {old.mode, version.mode} == {*REGULAR_MODES}
            if old and old.oid == version.oid and regular and self._random.random() < 0.5:
                changes.append(chmod(path, version.mode))
            elif old != version or self._random.random() < 0.05:
                changes.append(put(path, version.oid, version.mode))
        # The files come from sets, whose order differs from run to run.
        changes.sort(key=lambda change: change.path)
        self._random.shuffle(changes)
        return tuple(changes)

    def _edited(self, files: Files) -> Files:
        files = dict(files)
        if self._edited_path in files:
            old = files[self._edited_path]
            files[self._edited_path] = Version(old.mode, self._blob(self._edit(self.blobs.get(old.oid, b""))))
        if self._rewritten_path in files:
            files[self._rewritten_path] = self._small_version()
        met = self._edited_path or self._rewritten_path
        for _ in range(self._random.choice([0, 0, 1, 2, 3] if met else [1, 1, 2, 3, 5])):
            what = self._random.random()
            known = sorted(files)
            if what < 0.15 or not known:
                self._put(files, self._path())
                continue
            path = self._random.choice(known)
            old = files[path]
            if what < 0.65:
                content = self.blobs.get(old.oid)
                text = content is not None and old.mode != SYMLINK_MODE and b"\0" not in content
                files[path] = Version(old.mode, self._blob(self._edit(content))) if text else self._version(old.mode)
            elif what < 0.75:
                files[path] = Version(EXECUTABLE_MODE if old.mode == FILE_MODE else FILE_MODE, old.oid)
                if old.oid not in self.blobs:
                    files[path] = self._version()
            elif what < 0.85:
                del files[path]
            elif what < 0.9:
                files[path] = self._version()
            elif what < 0.95:  # the file becomes a directory
                self._put(files, path + b"/" + self._random.choice(NAMES))
            else:  # the directory becomes a file
                self._put(files, path.rpartition(b"/")[0] or self._path())
        return self._without_renames(files)

    def _without_renames(self, files: Files) -> Files:
        """Give other contents to new files that resemble a deleted one.

        A meant difference (docs/merging.md): we know no renames. Git 2.39 looks for them whatever merge.renames says,
        so a case must have none.
        """
        gone = [version for path, version in self.base.items() if path not in files]
        for path in sorted(files.keys() - self.base.keys()):
            new = files[path]
            if any(self._alike(old, new) for old in gone):
                # The same for both sides more often than not.
                content = b"new at " + path + b"\n"
                files[path] = Version(new.mode, self._blob(content * self._random.choice([1, 1, 2])))
                if new.mode == SUBMODULE_MODE:
                    files[path] = Version(new.mode, object_id(Kind.COMMIT, content))
        return files

    def _alike(self, old: Version, new: Version) -> bool:
        """Whether Git may take one for the other: at half of their bytes in common, as diffcore-rename.c counts."""
        if old.oid == new.oid:
            return True
        contents = [self.blobs.get(version.oid, b"") for version in (old, new)]
        pieces = [Counter(_PIECE.findall(content.replace(b"\r\n", b"\n"))) for content in contents]
        common = sum(len(piece) * count for piece, count in (pieces[0] & pieces[1]).items())
        return common >= 0.4 * max(map(len, contents))

    def _put(self, files: Files, path: bytes) -> None:
        """Put a file, and delete what stands in its way."""
        for other in list(files):
            if other.startswith(path + b"/") or path.startswith(other + b"/"):
                del files[other]
        files[path] = self._version()

    def _path(self) -> bytes:
        return b"/".join(self._random.choices(NAMES, k=self._random.choice([1, 1, 2, 2, 3, 4])))

    def _version(self, like: int = 0) -> Version:
        kind = self._random.random()
        if like == SUBMODULE_MODE or (not like and kind < 0.04):
            return Version(SUBMODULE_MODE, object_id(Kind.COMMIT, b"%d" % self._random.randrange(3)))
        if like == SYMLINK_MODE or (not like and kind < 0.12):
            return Version(SYMLINK_MODE, self._blob(self._random.choice(["a", "../b", "ü"]).encode()))
        mode = like or self._random.choice([FILE_MODE, FILE_MODE, FILE_MODE, EXECUTABLE_MODE])
        if kind < 0.18:
            # Text to Git, whatever stands behind the first 8,000 bytes.
            late = b"x" * 8000 if self._random.random() < 0.3 else b""
            return Version(mode, self._blob(late + b"%d\0\n" % self._random.randrange(3)))
        if kind < 0.21:
            return Version(mode, self._blob(b"a"))  # what a symlink has
        return Version(mode, self._blob(self._text()))

    def _small_version(self) -> Version:
        mode = self._random.choice([FILE_MODE, FILE_MODE, EXECUTABLE_MODE, SYMLINK_MODE])
        return Version(mode, self._blob(self._random.choice(SMALL)))

    def _text(self, *lengths: int) -> bytes:
        end = b"\r\n" if self._random.random() < 0.1 else b"\n"
        lines = self._random.choices(LINES, k=self._random.choice(lengths or (0, 1, 3, 8, 20, 40)))
        content = b"".join(line + end for line in lines)
        return content[: -len(end)] if self._random.random() < 0.15 else content

    def _edit(self, content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        end = b"\r\n" if b"\r\n" in content else b"\n"
        for _ in range(self._random.choice([1, 1, 2, 3])):
            at = self._random.randint(0, len(lines))
            new = [line + end for line in self._random.choices(LINES, k=self._random.randint(0, 2))]
            lines[at : at + self._random.randint(0, 2)] = new
        edited = b"".join(lines)
        how = self._random.random()
        if how < 0.04:
            return edited.removesuffix(end)
        if how < 0.06:
            return edited.replace(b"\r\n", b"\n") if end == b"\r\n" else edited.replace(b"\n", b"\r\n")
        return edited

    def _blob(self, content: bytes) -> ObjectId:
        oid = object_id(Kind.BLOB, content)
        self.blobs[oid] = content
        return oid

    def __str__(self) -> str:
        def shown(files: Files) -> list[str]:
            return [
                f"      {version.mode:06o} {path.decode()} {self.blobs.get(version.oid, version.oid.hex())!r}"
                for path, version in sorted(files.items())
            ]

        lines = [f"{self.name}, {'one batch' if self.one_batch else 'two batches'}", "    base", *shown(self.base)]
        return "\n".join([*lines, "    first", *shown(self.first), "    second", *shown(self.second)])


@dataclass
class Judgement:
    """What Git says of a merge."""

    clean: bool
    tree: ObjectId
    paths: set[bytes] = field(default_factory=set)  # that collide
    kinds: dict[bytes, set[str]] = field(default_factory=dict)  # the words in brackets behind CONFLICT, for each
    merged: bool = False  # whether contents were merged, by the messages


# A file that has to leave its place is called so.
_SUFFIX = re.compile(rb"~[0-9a-f]{40}(_\d+)?$")
_KIND = re.compile(rb"CONFLICT \(([^)]*)\)")


class MergeOracle(GitOracle):
    """A bare repository in which Git merges many cases in one run."""

    def judge(self, cases: list[Case], trees: Trees) -> list[Judgement]:
        """Merge each, in order; `trees` has or gets the trees of their files."""
        writer = PackWriter()
        lines = []
        for number, case in enumerate(cases):
            for content in case.blobs.values():
                writer.add(Kind.BLOB, content)
            commits: list[ObjectId] = []
            for name, files in (("base", case.base), ("first", case.first), ("second", case.second)):
                commit = Commit(trees.build(files), tuple(commits[:1]), WHO, WHO, f"{name} of {number}\n")
                commits.append(writer.add(Kind.COMMIT, commit.encode()))
            lines.append(f"{commits[1].hex()} {commits[2].hex()}\n")
        for data in trees.values():
            writer.add(Kind.TREE, data)
        pack = self.folder / "objects" / "pack" / f"pack-{number}"
        pack.with_suffix(".pack").write_bytes(writer.finish())
        pack.with_suffix(".idx").write_bytes(writer.index())
        done = subprocess.run(
            ["git", "-c", "merge.renames=false", "-c", "merge.directoryRenames=false"]
            + ["merge-tree", "--write-tree", "--stdin", "--messages", "-z"],
            env=self.environment | {"GIT_ATTR_NOSYSTEM": "1"},
            input="".join(lines).encode(),
            capture_output=True,
            check=True,
        )
        answers = iter(done.stdout.split(b"\0"))
        judgements = [self._judgement(answers) for _ in cases]
        assert list(answers) == [b""]
        return judgements

    @staticmethod
    def _judgement(answers: Iterator[bytes]) -> Judgement:
        """Read one answer: clean or not, the tree, rows of what collides, messages with the paths they are about."""
        judgement = Judgement(next(answers) == b"1", ObjectId(bytes.fromhex(next(answers).decode())))
        while row := next(answers):
            judgement.paths.add(_SUFFIX.sub(b"", row.partition(b"\t")[2]))
        # Behind the messages stands nothing, or advice on submodules.
        while (count := next(answers)).isdigit():
            paths = {_SUFFIX.sub(b"", next(answers)) for _ in range(int(count))}
            kind, message = next(answers), next(answers)
            judgement.merged |= kind == b"Auto-merging"
            for path in paths:
                words = {match[1].decode() for match in _KIND.finditer(message)}
                judgement.kinds.setdefault(path, set()).update(words or {kind.decode()})
        return judgement


# What Git calls it, and what we may: Git says "content" of whatever two sides left in one file.
CLASSES = {
    "content": {ConflictClass.CONTENT, ConflictClass.MODE},
    "add/add": {ConflictClass.ADD_ADD},
    "modify/delete": {ConflictClass.DELETE_MODIFY},
    "file/directory": {ConflictClass.DIRECTORY_FILE},
    "distinct types": {ConflictClass.MODE, ConflictClass.ADD_ADD},
    "submodule": {ConflictClass.CONTENT, ConflictClass.ADD_ADD},
    "CONFLICT (binary)": {ConflictClass.BINARY},
}


class Landing:
    """What Sluice says of a merge: the first side and then the second landed on one base."""

    def __init__(self, case: Case, trees: Trees, merges: ContentMerges) -> None:
        repo = LinkBench({})
        repo.trees, repo.blobs, repo.merge = trees, case.blobs, merges
        base = repo.root = trees.build(case.base)
        batch = [changeset("1", *case.changes(case.first)), changeset("2", *case.changes(case.second))]
        self.decided = []
        for part in [batch] if case.one_batch else [batch[:1], batch[1:]]:
            linked = repo.link(part, {BASE: base})
            repo.root = linked.root
            self.decided += linked.decided
        self.root = repo.root
        self.clean = self.decided[1].status == "committed"
        self.conflicts = {each.path.encode(): each for each in self.decided[1].conflicts}


def differences(case: Case, landing: Landing, git: Judgement, trees: Trees) -> list[str]:
    """Return what Sluice and Git say differently of a merge."""
    if landing.decided[0].status != "committed":
        return [f"the first side did not land: {landing.decided[0]}"]
    if landing.clean != git.clean:
        return [f"Git is {'clean' if git.clean else 'not clean'}: {git.kinds}; we say {landing.decided[1]}"]
    if git.clean:
        return [] if landing.root == git.tree else [f"the roots differ: {landing.root.hex()} {git.tree.hex()}"]
    if landing.root != trees.build(case.first):
        return ["a conflict changed the root"]
    named: dict[bytes, set[str]] = {}
    for path, conflict in landing.conflicts.items():
        named.setdefault(path, set()).add(conflict.kind)
        if conflict.blocker:
            named.setdefault(conflict.blocker.encode(), set()).add(conflict.kind)
    return [*unnamed(git, named), *unjudged(git, named)]


def unnamed(git: Judgement, named: dict[bytes, set[str]]) -> Iterator[str]:
    """Yield what Git says and we do not."""
    for path in git.paths:
        kinds = git.kinds.get(path, set())
        if path in named:
            # Of binaries Git also says that their contents conflict.
            told = {"CONFLICT (binary)"} & kinds or kinds
            fitting = set().union(*[CLASSES[kind] for kind in told if kind in CLASSES])
            if not named[path] & fitting:
                yield f"Git says {kinds} of {path.decode()}, we {named[path]}"
            continue
        # A meant difference (docs/merging.md): of a changed file whose directory became a file, Git names both.
        below = set().union(*[classes for other, classes in named.items() if other.startswith(path + b"/")])
        if kinds != {"file/directory"} or ConflictClass.DELETE_MODIFY not in below:
            yield f"Git names {path.decode()} ({kinds}), we only {named}"


def unjudged(git: Judgement, named: dict[bytes, set[str]]) -> Iterator[str]:
    """Yield what we say and Git does not."""
    for path, classes in named.items():
        # Where a file meets a directory, Git names the file, and we also what cannot stand below it.
        below = any(path.startswith(other + b"/") for other in git.paths)
        if path not in git.paths and not (below and classes == {ConflictClass.DIRECTORY_FILE}):
            yield f"we name {path.decode()} {classes}, Git only {git.kinds}"


@pytest.fixture(scope="module")
def merges() -> ContentMerges:
    return ContentMerges(Settings())


def merge_all(cases: list[Case], merges: ContentMerges) -> None:
    """Merge the contents of all these at once, as a batch does before it is linked."""
    blobs: dict[ObjectId, bytes] = {}
    wanted = []
    for case in cases:
        blobs |= case.blobs
        for path in case.first.keys() & case.second.keys():
            three = contents_to_merge(case.base.get(path), case.first[path], case.second[path])
            if three:
                wanted.append(three)
    merges.premerge(wanted, lambda oid: blobs[oid], 60)


def test_two_changesets_on_one_base_land_as_git_merges_them(
    merges: ContentMerges, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tally: Counter[str] = Counter()

    @MANY
    @given(st.integers(0, 2**32))
    def judge(example: int) -> None:
        cases = [Case(f"{example}/{number}") for number in range(MERGES)]
        trees = Trees()
        verdicts = MergeOracle(tmp_path_factory.mktemp("merges")).judge(cases, trees)
        merge_all(cases, merges)
        failures = []
        for case, git in zip(cases, verdicts, strict=True):
            landing = Landing(case, trees, merges)
            found = differences(case, landing, git, trees)
            if found:
                failures.append("\n  ".join([str(case), *found]))
            tally["merges"] += 1
            tally["clean" if git.clean else "conflicted"] += 1
            tally["clean with merged contents"] += git.clean and git.merged
            for kind in {each.kind for each in landing.conflicts.values()}:
                tally[kind] += 1
        assert not failures, f"{len(failures)} differ, the smallest:\n" + min(failures, key=len)

    judge()
    print(dict(tally))
    assert tally["merges"] >= 2000
    assert tally["clean with merged contents"] >= 300 and tally["conflicted"] >= 300
    # Each class that two texts, modes and kinds can end in; too-large is ours alone.
    assert all(tally[kind] >= 10 for kind in set(ConflictClass) - {ConflictClass.TOO_LARGE, ConflictClass.MOVED})
