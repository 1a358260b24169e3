"""What stands at a path when two sides are merged: the rules, what a writer may choose, and the merge of texts."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.commit.decide import decide
from storage.git.merge_tree import GitMerger, Merged, MergeTooSlow, Texts
from storage.git.objects import EXECUTABLE_MODE, FILE_MODE, SUBMODULE_MODE, SYMLINK_MODE, Kind, Version, object_id
from storage.git.threeway import ConflictClass, Strategy, contents_to_merge, merge_path
from storage.git.tree_editor import TreeEditor
from storage.log.manifest import Proposal
from storage.lookup.content_merges import ContentMerges
from tests.support.link_bench import changeset
from tests.support.trees import Trees

IDS = {name: object_id(Kind.BLOB, name.encode()) for name in "ABCM"}
KINDS = {"-": FILE_MODE, "x": EXECUTABLE_MODE, "l": SYMLINK_MODE, "s": SUBMODULE_MODE}


def version(text: str) -> Version | None:
    """Read `-A`: a file with content A; `x` an executable, `l` a symlink, `s` a submodule; empty: nothing there."""
    return Version(KINDS[text[0]], IDS[text[1]]) if text else None


# Where contents are merged they make M, or with `!` they collide; `asked` is what is merged.
PATHS = """
    base  head  submitted  asked  after
    # one side moved, or both alike
    -A    -A    -B         .      -B
    -A    -B    -A         .      -B
    -A    -B    -B         .      -B
    -A    -A    .          .      .
    -A    .     -A         .      .
    -A    .     .          .      .
    .     .     -A         .      -A
    .     -A    .          .      -A
    .     -A    -A         .      -A
    -A    -A    lA         .      lA
    # one side deleted, and the other did not leave it as it was
    -A    -B    .          .      delete/modify
    -A    .     -B         .      delete/modify
    -A    xA    .          .      delete/modify
    -A    .     lA         .      delete/modify
    # both wrote
    -A    -B    -C         ABC    -M
    -A    -B    -C         ABC!   content
    .     -B    -C         .BC    -M
    .     -B    -C         .BC!   add/add
    # contents and modes are merged each for itself
    -A    xA    -B         .      xB
    -A    -B    xA         .      xB
    xA    -B    xC         ABC    -M
    xA    -A    -B         .      -B
    -A    xB    xC         ABC    xM
    .     -A    xA         .      add/add
    .     -B    xC         .BC    add/add
    .     -B    xC         .BC!   add/add
    # kinds
    -A    lB    -C         .      mode
    lA    -B    lC         .      mode
    sA    -B    sC         .      mode
    .     -A    lA         .      add/add
    .     -A    sB         .      add/add
    # a base of another kind has no lines, only an id
    lA    -B    -C         .BC    -M
    lA    -B    -C         .BC!   content
    lA    -A    -B         .      -B
    lA    -B    -A         .      -B
    lA    -B    xB         .      mode
    lA    -B    xC         .BC    mode
    lA    -B    xC         .BC!   content
    # symlinks and submodules have no lines
    lA    lB    lC         .      content
    .     lB    lC         .      add/add
    sA    sB    sC         .      content
    .     sB    sC         .      add/add
"""
ROWS = [line.split() for line in PATHS.splitlines()[2:] if "#" not in line]


@pytest.mark.parametrize(("base", "head", "submitted", "asked", "after"), ROWS, ids=" ".join)
def test_a_path_is_merged_by_gits_rules(base: str, head: str, submitted: str, asked: str, after: str) -> None:
    three = [version(each.strip(".")) for each in (base, head, submitted)]
    named = tuple(IDS.get(name) for name in asked.rstrip("!")) if len(asked) > 1 else None

    def merge(*contents: ObjectId | None) -> ObjectId | ConflictClass:
        assert contents == named
        return ConflictClass.CONTENT if asked.endswith("!") else IDS["M"]

    merged = merge_path(*three, merge)
    assert merged == (after if isinstance(merged, ConflictClass) else version(after.strip(".")))
    assert contents_to_merge(*three) == named


@pytest.mark.parametrize("why", [ConflictClass.BINARY, ConflictClass.TOO_LARGE])
@pytest.mark.parametrize("base", ["-A", ""])
def test_why_contents_are_not_merged_is_the_class(why: ConflictClass, base: str) -> None:
    assert merge_path(version(base), version("-B"), version("-C"), lambda *three: why) == why


CHOICES = """
    base  head  submitted  merge          ours  theirs  exact
    -A    -A    -B         -B             -B    -B      -B
    -A    -B    -B         -B             -B    -B      -B
    -A    -B    -C         -M             -B    -C      content
    .     -B    -C         -M             -B    -C      add/add
    -A    xA    -B         xB             xA    -B      content
    -A    -B    .          delete/modify  -B    .       delete/modify
    -A    .     -B         delete/modify  .     -B      delete/modify
    -A    lB    -C         mode           lB    -C      mode
"""


@pytest.mark.parametrize("row", CHOICES.splitlines()[2:-1], ids=str.strip)
@pytest.mark.parametrize("strategy", Strategy)
def test_a_writer_may_choose_for_a_path_that_moved(row: str, strategy: Strategy) -> None:
    names = CHOICES.splitlines()[1].split()
    said = dict(zip(names, row.split(), strict=True))
    base, head, submitted = (version(said[name].strip(".")) for name in names[:3])
    change = Proposal("delete", b"f", 0)
    if submitted:
        change = Proposal("put", b"f", submitted.mode, oid=submitted.oid, strategy=strategy)
    elif strategy != Strategy.MERGE:
        change = Proposal("delete", b"f", 0, strategy=strategy)
    trees = Trees()
    seen, now = (TreeEditor(trees.read, trees.build({b"f": each} if each else {})) for each in (base, head))
    decided = decide(changeset("X", change), seen, now, lambda path, *three: IDS["M"])
    if isinstance(decided, list):
        [conflict] = decided
        assert (conflict.kind, conflict.base, conflict.head, conflict.submitted) == (
            said[strategy],
            base,
            head,
            submitted,
        )
    else:
        assert decided.get(b"f", head) == version(said[strategy].strip("."))


@pytest.mark.parametrize("strategy", Strategy)
def test_no_choice_makes_room_for_a_file_where_others_stand(strategy: Strategy) -> None:
    trees = Trees()
    seen = TreeEditor(trees.read, trees.build({}))
    head = TreeEditor(trees.read, trees.build({b"f/g": Version(FILE_MODE, IDS["A"])}))
    change = Proposal("put", b"f", FILE_MODE, oid=IDS["B"], strategy=strategy)
    decided = decide(changeset("X", change), seen, head, lambda path, *three: IDS["M"])
    assert isinstance(decided, list)
    assert [(conflict.kind, conflict.blocker) for conflict in decided] == [(ConflictClass.DIRECTORY_FILE, b"f/g")]


class StubMerger:
    """Merges by joining, and is stopped where a text is slow."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def merge(self, wanted: list[Texts]) -> list[Merged]:
        self.calls.append(len(wanted))
        if any(b"slow" in texts.ours for texts in wanted):
            raise MergeTooSlow
        return [Merged(b"clash" not in texts.ours, texts.ours + texts.theirs) for texts in wanted]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> StubMerger:
    stub = StubMerger()
    monkeypatch.setattr("storage.lookup.content_merges.GitMerger", lambda **options: stub)
    return stub


def threes(*heads: bytes, base: bytes = b"base", submitted: bytes = b"+") -> tuple[list, dict[ObjectId, bytes]]:
    """Return three contents for each of `heads`, and all of them by id."""
    blobs = {object_id(Kind.BLOB, content): content for content in (*heads, base, submitted)}
    base_id, submitted_id = object_id(Kind.BLOB, base), object_id(Kind.BLOB, submitted)
    return [(base_id, object_id(Kind.BLOB, head), submitted_id) for head in heads], blobs


def test_contents_are_merged_together_and_each_three_once(stub: StubMerger) -> None:
    wanted, blobs = threes(b"one", b"clash", b"one", b"two")
    merges = ContentMerges(Settings())
    for _ in range(2):
        merges.premerge(wanted, blobs.__getitem__, 60)
        found = [merges(three, blobs.__getitem__) for three in wanted]
        assert found == [b"one+", ConflictClass.CONTENT, b"one+", b"two+"]
    assert merges(wanted[0], blobs.__getitem__) == b"one+"
    assert stub.calls == [3]


def test_a_merge_that_is_too_slow_is_too_large_and_others_are_merged(stub: StubMerger) -> None:
    wanted, blobs = threes(b"one", b"slow", b"two")
    merges = ContentMerges(Settings())
    merges.premerge(wanted, blobs.__getitem__, 60)
    merged = [merges(three, blobs.__getitem__) for three in wanted]
    assert merged == [b"one+", ConflictClass.TOO_LARGE, b"two+"]
    assert stub.calls == [3, 1, 1, 1]


@pytest.mark.parametrize("place", ["base", "head", "submitted"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"x" * 99 + b"\0", ConflictClass.BINARY),
        (b"x" * 101, ConflictClass.TOO_LARGE),
        (b"x" * 100 + b"\0", ConflictClass.BINARY),
    ],
)
def test_binary_and_large_contents_are_not_merged(stub: StubMerger, place: str, content: bytes, why: str) -> None:
    contents = {"base": b"1", "head": b"2", "submitted": b"3", place: content}
    [three], blobs = threes(contents["head"], base=contents["base"], submitted=contents["submitted"])
    assert ContentMerges(Settings(max_merge_bytes=100))(three, blobs.__getitem__) == why
    assert stub.calls == []


def test_a_nul_behind_the_first_8000_bytes_makes_no_binary(stub: StubMerger) -> None:
    late = b"x" * 8000 + b"\0"
    [three], blobs = threes(late)
    assert ContentMerges(Settings())(three, blobs.__getitem__) == late + b"+"


@pytest.fixture(scope="module")
def git() -> GitMerger:
    return GitMerger()


TEXTS = {
    # base, head, submitted, merged
    "lines far apart": (b"1\n2\n3\n", b"x\n2\n3\n", b"1\n2\ny\n", b"x\n2\ny\n"),
    "CRLF": (b"1\r\n2\r\n3\r\n", b"x\r\n2\r\n3\r\n", b"1\r\n2\r\ny\r\n", b"x\r\n2\r\ny\r\n"),
    "both line ends": (b"1\r\n2\n3\r\n", b"x\n2\n3\r\n", b"1\r\n2\ny\r\n", b"x\n2\ny\r\n"),
    "no final newline": (b"1\n2\n3", b"x\n2\n3", b"1\n2\n3", b"x\n2\n3"),
    "one side ends the last line": (b"1\n2\n3", b"x\n2\n3", b"1\n2\n3\n", b"x\n2\n3\n"),
    "one side leaves it open": (b"1\n2\n3\n", b"x\n2\n3\n", b"1\n2\n3", b"x\n2\n3"),
    "unicode": ("ä\nö\nü\n".encode(), "ä!\nö\nü\n".encode(), "ä\nö\n😀\n".encode(), "ä!\nö\n😀\n".encode()),
    "no UTF-8": (b"\xe4\n2\n\xfc\n", b"\xe4\xff\n2\n\xfc\n", b"\xe4\n2\n\xfe\n", b"\xe4\xff\n2\n\xfe\n"),
    "lines like markers": (
        b"<<<<<<< a\n=======\n3\n",
        b"x\n=======\n3\n",
        b"<<<<<<< a\n=======\ny\n",
        b"x\n=======\ny\n",
    ),
    "an empty side": (b"1\n", b"1\n2\n", b"", None),
    "two new files alike": (None, b"1\n", b"1\n", b"1\n"),
    "two new files": (None, b"1\n", b"2\n", None),
    "an empty base": (b"", b"1\n", b"2\n", None),
    "neighbouring lines": (b"1\n2\n", b"x\n2\n", b"1\ny\n", None),
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts_are_merged_to_the_byte(git: GitMerger, case: str) -> None:
    base, head, submitted, after = TEXTS[case]
    [merged] = git.merge([Texts(base, head, submitted)])
    assert merged.clean == (after is not None)
    assert after is None or merged.content == after


def test_the_folder_of_a_process_that_is_gone_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for owner in (gone.pid, os.getpid()):
        (tmp_path / f"sluice-merge-{owner}-x" / "objects").mkdir(parents=True)
    GitMerger().merge([Texts(b"", b"", b"1\n")])
    assert not list(tmp_path.glob(f"sluice-merge-{gone.pid}-*"))
    assert (tmp_path / f"sluice-merge-{os.getpid()}-x").exists()


def test_markers_show_the_base_where_that_is_asked_for() -> None:
    [merged] = GitMerger(style="diff3").merge([Texts(b"1\n2\n3\n", b"1\nx\n3\n", b"1\ny\n3\n")])
    assert b"\n||||||| " in merged.content and b"\n2\n=======\n" in merged.content


def test_many_merges_in_one_run_are_answered_in_order(git: GitMerger) -> None:
    wanted = [Texts(b"0\n1\n2\n", b"%d\n1\n2\n" % n, b"0\n1\n%d\n" % (n % 3)) for n in range(150)]
    assert git.merge(wanted) == [Merged(True, b"%d\n1\n%d\n" % (n, n % 3)) for n in range(150)]


def test_what_a_user_has_set_in_git_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attributes = tmp_path / "attributes"
    attributes.write_text("* merge=mine conflict-marker-size=20 -text\n")
    (tmp_path / ".gitconfig").write_text(
        f'[merge]\n\tconflictStyle = diff3\n\tdefault = mine\n[merge "mine"]\n\tdriver = false\n'
        f"[core]\n\tattributesFile = {attributes}\n\tautocrlf = true\n[diff]\n\talgorithm = minimal\n"
    )
    (tmp_path / "git").mkdir()
    (tmp_path / "git" / "attributes").write_text(attributes.read_text())
    wanted = [Texts(b"1\n2\n3\n", b"x\n2\n3\n", b"1\n2\ny\n"), Texts(b"1\r\n", b"2\r\n", b"3\r\n")]
    before = GitMerger().merge(wanted)
    for name, value in {
        "HOME": tmp_path,
        "XDG_CONFIG_HOME": tmp_path,
        "GIT_CONFIG_GLOBAL": tmp_path / ".gitconfig",
        "GIT_CONFIG_SYSTEM": tmp_path / ".gitconfig",
        "GIT_CONFIG_COUNT": 1,
        "GIT_CONFIG_KEY_0": "merge.conflictStyle",
        "GIT_CONFIG_VALUE_0": "diff3",
        "GIT_DIR": tmp_path,
    }.items():
        monkeypatch.setenv(name, str(value))
    after = GitMerger().merge(wanted)
    assert [merged.clean for merged in after] == [True, False]
    assert after == before


def test_what_an_administrator_has_set_in_git_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may write /etc/gitattributes: with `* merge=union` there every merge of texts would be clean."""
    environments = []
    run = subprocess.run

    def spy(*arguments: Any, **options: Any) -> Any:
        environments.append(options["env"])
        return run(*arguments, **options)

    monkeypatch.setattr("storage.git.run_git.subprocess.run", spy)
    GitMerger().merge([Texts(b"", b"1", b"1")])
    [environment] = environments
    fixed = {"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_ATTR_NOSYSTEM", "GIT_NO_REPLACE_OBJECTS", "LC_ALL"}
    assert environment.keys() == {"GIT_DIR", *fixed}
