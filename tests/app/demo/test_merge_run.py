"""Merges are read as Git wrote them, and judged by Git without renames, attributes and configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from app.demo.merge_report import MergeReport
from app.demo.merge_run import Case, read_cases
from app.judge.judge import Judge, parse_differences
from app.judge.local_history import FileChange, HistoryError
from app.judge.renames import may_rename, split_renames
from app.judge.source_merges import (
    BAD_CONTENT,
    BAD_MODE,
    BAD_PATH,
    NO_BASE,
    ONE_SIDED,
    TOO_LARGE,
    TOO_MANY,
    MergeHistory,
    SourceMerge,
    after,
    refusal,
)
from storage.git.merge_tree import TreeMerge, parse_merges
from storage.git.run_git import GitFailed
from tests.support.git_repository import GitRepository

A, B, C, D = ("a" * 40, "b" * 40, "c" * 40, "d" * 40)
TREES = (A, A, A)
TEXT = "".join(f"line {i}\n" for i in range(20))


@pytest.fixture
def repo(tmp_path: Path) -> GitRepository:
    made = GitRepository(tmp_path / "repo")
    made.write("text", TEXT)
    made.write("other", "other\n")
    made.commit("Begin")
    return made


class Sides:
    """Makes merges of two sides on what HEAD is when it begins; whatever a merge is, it is committed."""

    def __init__(self, repo: GitRepository) -> None:
        self.repo = repo
        self.base = repo.git("rev-parse", "HEAD")
        self.sides: list[str] = []

    def side(self, files: dict[str, str | bytes | None]) -> None:
        self.repo.git("checkout", "--quiet", "--detach", "--force", self.base)
        for path, content in files.items():
            if content is None:
                (self.repo.path / path).unlink()
            else:
                self.repo.write(path, content)
        self.sides.append(self.repo.commit(f"Side {len(self.sides)}"))

    def merge(self) -> str:
        tree = self.repo.git("rev-parse", "HEAD^{tree}")
        ours, theirs = self.sides
        merge = self.repo.git("commit-tree", "-m", "Merge", "-p", ours, "-p", theirs, tree)
        self.repo.git("checkout", "--quiet", "-B", "main", merge)
        return merge


def merged(repo: GitRepository, ours: dict[str, str | bytes | None], theirs: dict[str, str | bytes | None]) -> str:
    sides = Sides(repo)
    sides.side(ours)
    sides.side(theirs)
    return sides.merge()


def cases(repo: GitRepository, limit: int | None = None) -> tuple[list[Case], Counter[str]]:
    skipped: Counter[str] = Counter()
    with MergeHistory(repo.path) as history, Judge(history.objects()) as judge:
        return read_cases(history, judge, limit, skipped, lambda stage, done, total: None), skipped


def test_a_clean_merge_is_what_git_makes_of_all_that_a_side_changed(repo: GitRepository) -> None:
    oid = merged(repo, {"text": "first\n" + TEXT, "new": "n\n"}, {"text": TEXT + "last\n", "other": None})
    [case], skipped = cases(repo)
    assert (case.merge.oid, case.git_clean, case.git_conflicts, not skipped) == (oid, True, (), True)
    assert case.merge.merges_contents
    assert sorted(case.merge.base_files) == ["other", "text"]
    text = repo.git("hash-object", "--stdin", stdin=f"first\n{TEXT}last\n".encode())
    new = repo.git("hash-object", "--stdin", stdin=b"n\n")
    assert case.expected == {"text": ("100644", text), "new": ("100644", new)}


def test_a_conflict_names_its_paths(repo: GitRepository) -> None:
    merged(repo, {"text": "ours\n", "x": "x\n"}, {"text": "theirs\n"})
    [case], _ = cases(repo)
    assert (case.git_clean, case.git_conflicts) == (False, ("text",))


@pytest.mark.parametrize(
    ("ours", "theirs", "clean"),
    [
        ({"text": None, "moved": TEXT}, {"text": TEXT + "last\n"}, False),
        ({"text": TEXT + "last\n"}, {"text": None, "moved": "first\n" + TEXT}, False),
        ({"text": None, "here": TEXT}, {"text": None, "there": TEXT}, True),
        ({"text": None, "text/below": "x\n"}, {"text": TEXT + "last\n"}, False),
        ({"text": None, "text/below": "x\n"}, {"other": "changed\n"}, True),
        ({"text": None, "new": "x\n"}, {"text": None, "new/below": "x\n"}, False),
    ],
    ids=["moved here", "moved there", "moved to two places", "made a directory", "and undisturbed", "new in the way"],
)
def test_a_file_that_moved_is_one_that_went_and_one_that_came(
    repo: GitRepository, ours: dict[str, str | bytes | None], theirs: dict[str, str | bytes | None], clean: bool
) -> None:
    merged(repo, ours, theirs)
    [case], _ = cases(repo)
    assert case.git_clean is clean
    if clean:
        kept = {**ours, **theirs}
        assert case.expected.keys() == {path for path, content in kept.items() if content is not None}


def test_merges_are_read_newest_first_from_all_history_up_to_a_limit(repo: GitRepository) -> None:
    first = merged(repo, {"a": "1"}, {"b": "1"})
    side = merged(repo, {"c": "1"}, {"d": "1"})
    repo.git("checkout", "--quiet", "-B", "main", first)
    repo.write("e")
    repo.commit()
    repo.git("merge", "--quiet", "--no-ff", "-m", "Merge", side)
    last = repo.git("rev-parse", "HEAD")
    found, _ = cases(repo)
    assert {case.merge.oid for case in found} == {first, side, last}
    assert found[0].merge.oid == last
    assert [case.merge.oid for case in cases(repo, 1)[0]] == [last]


def test_merges_that_cannot_be_compared_are_counted_by_reason(repo: GitRepository) -> None:
    repo.git("checkout", "--quiet", "-b", "side")
    repo.write("side")
    repo.commit()
    repo.git("checkout", "--quiet", "main")
    repo.git("merge", "--quiet", "--no-ff", "-m", "One side stands at the base", "side")
    sides = Sides(repo)
    sides.side({})
    sides.side({"b": "1"})
    sides.merge()
    tree = repo.git("rev-parse", "HEAD^{tree}")
    root = repo.git("commit-tree", "-m", "Another root", tree)
    merge = repo.git("commit-tree", "-m", "Unrelated", "-p", "HEAD", "-p", root, tree)
    repo.git("checkout", "--quiet", "-B", "main", merge)
    merged(repo, {".gitmodules": '[submodule "-"]\n\tpath = -x\n\turl = -u\n'}, {"c": "1"})
    found, skipped = cases(repo)
    assert found == []
    assert skipped == {ONE_SIDED: 2, NO_BASE: 1, BAD_CONTENT: 1}


def test_configuration_and_attributes_change_no_verdict(
    repo: GitRepository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = tmp_path / "settings"
    attributes = tmp_path / "attributes"
    attributes.write_text("* merge=union\n")
    settings.write_text(f"[core]\n\tattributesFile = {attributes}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    repo.write(".gitattributes", "* merge=union\n")
    repo.commit()
    merged(repo, {"text": "ours\n"}, {"text": "theirs\n"})
    [case], _ = cases(repo)
    assert not case.git_clean


def change(path: str, mode: str = "100644", oid: str = B, old_mode: str = "", old_oid: str = "") -> FileChange:
    return FileChange(path, mode, oid, old_mode, old_oid)


def no_content(oid: str) -> bytes:
    raise AssertionError("nothing needs to be read")


@pytest.mark.parametrize(
    ("first", "content", "size", "reason"),
    [
        ([change("a")], b"", 1, None),
        ([], b"", 1, ONE_SIDED),
        ([change("a", "100664")], b"", 1, BAD_MODE),
        ([change("a", old_mode="100664", old_oid=C)], b"", 1, BAD_MODE),
        ([change("a/.GIT/b")], b"", 1, BAD_PATH),
        ([change("a/" * 98 + "b")], b"", 1, BAD_PATH),
        ([change("a/" * 97 + "b")], b"", 1, None),
        ([change(b"caf\xe9".decode(errors="surrogateescape"))], b"", 1, None),
        ([change(".gitmodules", "", "", "120000", C)], b"x", 1, BAD_CONTENT),
        ([change("link", "120000")], b"to", 1, None),
        ([change("link", "120000")], b"", 1, BAD_CONTENT),
        ([change("sub", "160000")], b"", 1, None),
        ([change(".gitmodules", "160000")], b"", 1, BAD_CONTENT),
        ([change("a")], b"", 25 << 20, TOO_LARGE),
        ([change(str(i)) for i in range(10_001)], b"", 1, TOO_MANY),
    ],
)
def test_what_the_api_would_refuse_is_not_sent(
    first: list[FileChange], content: bytes, size: int, reason: str | None
) -> None:
    for sides in (first, [change("z")]), ([change("z")], first):
        merge = SourceMerge(A, TREES, sides)
        assert refusal(merge, lambda oid: content, lambda oids: [size] * len(oids)) == reason


def test_a_submodules_commit_is_no_blob() -> None:
    asked: list[Sequence[str]] = []

    def sizes(oids: list[str]) -> list[int]:
        asked.append(oids)
        return [1] * len(oids)

    merge = SourceMerge(A, TREES, ([change("sub", "160000", C)], [change("z", oid=D)]))
    assert refusal(merge, no_content, sizes) is None
    assert asked == [[D]], "of both sides"


def test_contents_are_merged_where_three_files_differ() -> None:
    def both(ours: FileChange, theirs: FileChange) -> bool:
        return SourceMerge(A, TREES, ([ours], [theirs])).merges_contents

    old = ("100644", A)
    assert both(change("a", "100644", B, *old), change("a", "100755", C, *old))
    assert both(change("a", "100644", B), change("a", "100644", C)), "both made it"
    assert not both(change("a", "100644", B, *old), change("a", "100644", B, *old)), "the same on both sides"
    assert not both(change("a", "100755", A, *old), change("a", "100644", B, *old)), "one changed the mode alone"
    assert not both(change("a", "", "", *old), change("a", "100644", B, *old))
    assert not both(change("a", "120000", B, "120000", A), change("a", "120000", C, "120000", A))
    assert not both(change("a", "100644", B, *old), change("b", "100644", C, *old))


def test_files_after_changes() -> None:
    files = {"stays": ("100644", A), "goes": ("100644", A), "grows": ("100644", A)}
    changes = [
        change("goes", "", "", "100644", A), change("grows", "100755", B, "100644", A), change("comes", "120000", C)
    ]  # fmt: skip
    assert after(files, changes) == {"stays": ("100644", A), "grows": ("100755", B), "comes": ("120000", C)}


def test_only_what_a_rename_could_change_is_judged_apart() -> None:
    gone, changed, new = change("a", "", "", "100644", A), change("a", "100644", B, "100644", A), change("n", oid=C)
    merges = [SourceMerge(A, TREES, sides) for sides in (([gone, new], [changed]), ([changed, new], [change("b")]))]
    assert [may_rename(merge) for merge in merges] == [True, False]
    assert not may_rename(SourceMerge(A, TREES, ([gone], [changed]))), "nothing is new"
    assert not may_rename(SourceMerge(A, TREES, ([gone, new], [change("b")]))), "the other side left it alone"
    assert may_rename(SourceMerge(A, TREES, ([gone, new], [gone]))), "both deleted it"
    known, rest = split_renames(merges[0])
    assert (known.base, known.ours, known.theirs) == ({"a": ("100644", A)}, {}, {"a": ("100644", B)})
    assert (rest.base, rest.ours, rest.theirs) == ({}, {"n": ("100644", C)}, {})


def test_differences_are_read_with_and_without_changes() -> None:
    output = (
        f"{A} {B}\n{B} {C}\n:100644 000000 {A} {'0' * 40} D\0a\nb\0:000000 100755 {'0' * 40} {B} A\0c\xe9\0{C} {D}\n"
    ).encode("latin-1")
    none, two, last = parse_differences(output)
    assert none == last == []
    assert two == [
        change("a\nb", "", "", "100644", A), change(b"c\xe9".decode(errors="surrogateescape"), "100755", B)
    ]  # fmt: skip
    assert parse_differences(b"") == []


def test_verdicts_are_read() -> None:
    output = f"1\0{A}\0\0" + f"0\0{B}\0x y\0z\0\0"
    assert parse_merges(output.encode(), 2) == [TreeMerge(True, A), TreeMerge(False, B, ("x y", "z"))]
    for short in f"1\0{A}\0\0", f"1\0{A}\0\0" + f"0\0{B}\0x":
        with pytest.raises(GitFailed, match="1 of 2"):
            parse_merges(short.encode(), 2)
    with pytest.raises(GitFailed, match="neither"):
        parse_merges(f"-1\0{A}\0\0".encode(), 1)


@pytest.fixture
def judge(repo: GitRepository) -> Iterator[Judge]:
    with Judge(repo.path / ".git" / "objects") as made:
        yield made


def test_trees_of_our_own_are_git_s(repo: GitRepository, judge: Judge) -> None:
    for path in ("a/b/c", "a.b", "a-b/x", "a0"):
        repo.write(path)
    repo.commit()
    tree = repo.git("rev-parse", "HEAD^{tree}")
    [files] = judge.differences([(repo.git("mktree"), tree)])
    assert judge.tree({file.path: (file.mode, file.oid) for file in reversed(files)}) == tree


def test_what_is_missing_is_said(judge: Judge) -> None:
    with pytest.raises(HistoryError, match="partial clone"):
        judge.sizes([A])
    with pytest.raises(HistoryError, match="merge-tree"):
        judge.verdicts([(A, B, C)])


def test_a_report_counts_verdicts_and_trees() -> None:
    report = MergeReport()
    one, two = {"a": ("100644", A)}, {"a": ("100644", B), "b": ("100644", B)}
    report.compare("m1", "clean", "clean", one, one, ())
    report.compare("m2", "clean", "clean", one, two, ())
    report.compare("m3", "conflicted", "conflicted", {}, two, ("a",))
    assert not report.ok
    report.compare("m4", "conflicted", "clean", {}, one, ("a",))
    report.compare("m5", "clean", "rejected, why", one, one, ())
    shown = report.to_json()
    assert [shown[name] for name in ("merges", "same_verdict", "same_tree", "clean", "conflicted")] == [5, 3, 2, 3, 2]
    assert [(each.merge, each.paths) for each in report.differences] == [("m2", ("a", "b")), ("m4", ("a",)), ("m5", ())]
    assert report.differences[1].sentence() == "m4 git: conflicted, sluice: clean: 'a'"
    assert report.differences[0].sentence(1).endswith("'a' and 1 more")
