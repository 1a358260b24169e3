"""What is refused before it is stored, and that ordinary things are not. Git itself judges in tests/compat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.git import fsck
from storage.git.objects import EXECUTABLE_MODE, FILE_MODE, SUBMODULE_MODE, SYMLINK_MODE
from tests.support.submodule_urls import REFUSED_URLS, TAKEN_URLS

SCISSORS = "# ------------------------ >8 ------------------------"
ORDINARY = [
    "a",
    "src/app/main.py",
    "README.md",
    ".github/workflows/ci.yml",
    ".travis.yml",
    ".gitignore",
    "git",
    "a b/c (1).txt",
    "x-1+2@3,4=5",
]
UNUSUAL = [".gitattributes", "dir/.gitmodules", "ä/日本.txt", "a~1", "a\\b", "a:b", "tab\tname", "...", "..a"]
REFUSED = [
    *[
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/./b",
        "a/../b",
        "../a",
        "a\0b",
        "x" * 256,
        "a/" + "x" * 256,
        "a/" * 2048 + "b",
    ],
    *[
        ".git",
        ".GIT/x",
        "a/.Git",
        ".git.",
        ".git ",
        ".git . /x",
        "git~1",
        "GIT~1/x",
        ".git::$INDEX_ALLOCATION/x",
        ".git:x",
    ],
    *[
        "a\\.git",
        ".git\\x",
        "x\\git~1\\y",
        ".g\u200cit",
        "\ufeff.git",
        ".git\u206f/x",
        ".git\uffff",
        ".gitmodules/x",
        "gitatt~1/x",
    ],
]


# Git 2.44 and newer cannot read these (url_normalize), or would let them be more than one line; older versions, which a
# machine that runs the tests may have, take some of them. tests/compat shows both tables to the Git that is there.
@pytest.mark.parametrize("path", ORDINARY)
def test_an_ordinary_path_needs_no_second_look(path: str) -> None:
    assert fsck.check_path(path.encode(), 4096)


@pytest.mark.parametrize("path", UNUSUAL)
def test_an_unusual_path_is_taken_and_its_content_looked_at(path: str) -> None:
    assert not fsck.check_path(path.encode(), 4096)


@pytest.mark.parametrize("path", REFUSED)
def test_a_dangerous_path_is_refused(path: str) -> None:
    with pytest.raises(fsck.PathError):
        fsck.check_path(path.encode(), 4096)


def test_a_path_is_any_bytes_within_its_limit() -> None:
    for path in (b"x" * 10, b"\xff", b"a/\xed\xa0\x80", b"caf\xe9/.gi\xff"):
        fsck.check_path(path, 20)
    for path in (b"x" * 21, b"\xff" * 21):
        with pytest.raises(fsck.PathError, match="at most 20"):
            fsck.check_path(path, 20)


@pytest.mark.parametrize(
    "part", [b"..", b".", b"", b".git", b".GIT.", b"git~1", b".git\xff", b".g\xe2\x80\x8cit\xe9", b"a\0b"]
)
def test_a_path_that_is_not_utf8_has_no_other_rules(part: bytes) -> None:
    for path in (b"\xe9/" + part + b"/x", b"x/" + part + b"/\xe9", part + b"/caf\xe9"):
        with pytest.raises(fsck.PathError):
            fsck.check_path(path, 4096)
    with pytest.raises(fsck.PathError, match=r"takes for \.gitmodules"):
        fsck.check_path(b"\xe9/.gitmodules/x", 4096)
    assert fsck.needs_content(b"\xe9/.gitmodules\xff", FILE_MODE), "HFS+ takes that for .gitmodules, as Git does"
    assert not fsck.needs_content(b"\xe9/.git\xffmodules", FILE_MODE)


@pytest.mark.parametrize(
    ("path", "mode", "content"),
    [
        (b"link", SYMLINK_MODE, b""),
        (b"link", SYMLINK_MODE, b"a\0b"),
        (b"link", SYMLINK_MODE, b"x" * 4096),
        (b".gitmodules", SYMLINK_MODE, None),
        (b"GITMOD~1", SYMLINK_MODE, b"x"),
        (b".gitmodules", SUBMODULE_MODE, None),
        (b".gitattributes", SUBMODULE_MODE, None),
        (b"a/.gitattributes", FILE_MODE, b"ok\n" + b"x" * 2048 + b"\n"),
        (b".GitAttributes", EXECUTABLE_MODE, b"x" * 2048),
        (b".gitmodules", FILE_MODE, b'[submodule "a/../b"]\n\tpath = a\n'),
        (b"a/.gitmodules", FILE_MODE, b'[submodule "a"]\n\turl = -u\n'),
        (b".gitmodules", FILE_MODE, b'[submodule "a"]\n\turl = https://h/%0a\n'),
        (b".gitmodules", FILE_MODE, b'[submodule "a"]\n\tupdate = !rm -rf /\n'),
        (b"~1234567", FILE_MODE, b"x" * 2048),
        (b"~1234567", FILE_MODE, b'[submodule "a"]\n\tpath = -a\n'),
        (b".gitmodules", FILE_MODE, b"a\0b"),
        (b".gitmodules", FILE_MODE, b"#" * (1 << 20) + b"#"),
    ],
)
def test_content_that_git_refuses_is_refused(path: bytes, mode: int, content: bytes | None) -> None:
    with pytest.raises(fsck.ContentError):
        fsck.check_content(path, mode, content)


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_a_submodules_url_that_newer_versions_of_git_refuse_is_refused(url: str) -> None:
    with pytest.raises(fsck.ContentError):
        fsck.check_content(b".gitmodules", FILE_MODE, f'[submodule "a"]\n\turl = "{url}"\n'.encode())


@pytest.mark.parametrize("url", TAKEN_URLS)
def test_any_other_url_of_a_submodule_is_taken(url: str) -> None:
    fsck.check_content(b".gitmodules", FILE_MODE, f'[submodule "a"]\n\turl = "{url}"\n'.encode())


@pytest.mark.parametrize("end", ["", "\\", "\\\n", "\n"])
def test_a_value_counts_however_the_file_ends(end: str) -> None:
    with pytest.raises(fsck.ContentError, match="path"):
        fsck.check_content(b".gitmodules", FILE_MODE, f'[submodule "a"]\npath = -a{end}'.encode())


@given(st.lists(st.integers(0, 3) | st.integers(2040, 2056) | st.integers(4090, 4100), max_size=6))
def test_an_attributes_line_is_too_long_from_2048_bytes(lengths: list[int]) -> None:
    content = b"\n".join(b"x" * length for length in lengths)
    if any(length >= 2048 for length in lengths):
        with pytest.raises(fsck.ContentError, match="line"):
            fsck.check_content(b".gitattributes", FILE_MODE, content)
    else:
        fsck.check_content(b".gitattributes", FILE_MODE, content)


def test_an_attributes_file_has_the_size_that_git_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fsck.MAX_ATTRIBUTES_BYTES == 100 << 20
    monkeypatch.setattr(fsck, "MAX_ATTRIBUTES_BYTES", 100)
    fsck.check_content(b".gitattributes", FILE_MODE, b"x\n" * 50)
    with pytest.raises(fsck.ContentError, match="101 bytes"):
        fsck.check_content(b".gitattributes", FILE_MODE, b"x\n" * 50 + b"x")


def test_any_other_content_is_taken() -> None:
    fsck.check_content(b"a", FILE_MODE, b"\0" * 5000)
    fsck.check_content(b".gitattributes", FILE_MODE, (b"x" * 2047 + b"\n") * 3)
    fsck.check_content(b".gitattributes", SYMLINK_MODE, b"../attributes")
    fsck.check_content(b"link", SYMLINK_MODE, b"x" * 4095)
    fsck.check_content(b"sub", SUBMODULE_MODE, None)
    fsck.check_content(b".gitmodules", FILE_MODE, b'[submodule "a"]\n\tpath = a\n\turl = ../a.git\n\tupdate = none\n')


def test_a_blob_given_by_its_id_is_read_where_its_name_or_mode_ask_for_it() -> None:
    wanted = {(b"a", SYMLINK_MODE), (b"x/.gitmodules", FILE_MODE), (b"GITATT~1", FILE_MODE)}
    others = {(b"a", FILE_MODE), (b"a", SUBMODULE_MODE), (b".gitignore", FILE_MODE)}
    assert {case for case in wanted | others if fsck.needs_content(*case)} == wanted


@pytest.mark.parametrize(
    ("name", "email"), [("", "a"), (" ", "a"), ("a<b", "c"), ("a", "b>"), ("a\nb", "c"), ("a", "\0")]
)
def test_an_author_that_git_refuses_is_refused(name: str, email: str) -> None:
    with pytest.raises(fsck.FsckError):
        fsck.check_ident(name, email)


def test_an_author_may_have_no_address() -> None:
    fsck.check_ident("Ada Löve, Jr.", "")


@pytest.mark.parametrize(
    "text",
    [
        "\0",
        "a\0b",
        "Changeset-Id: x",
        "a\n\nchangeset-id: x",
        "a\nCHANGESET-ID :x",
        "a\n  Changeset-Id: x",
        "a\rChangeset-Id:",
        "Changeset-Submitter: x",
        "a\n\nchangeset-submitter : x\nSigned-off-by: A",
        "a\n \tCHANGESET-SUBMITTER:",
        "a\u2028Changeſet-Submitter: x",
    ],
)
def test_a_message_cannot_carry_a_nul_or_our_trailer(text: str) -> None:
    with pytest.raises(fsck.FsckError):
        fsck.check_message(text)


@pytest.mark.parametrize("name", ["Changeset-Id", "Changeset-Submitter"])
def test_the_trailer_that_a_message_may_not_have_is_named(name: str) -> None:
    for written in (name, name.lower(), name.replace("s", "ſ")):
        with pytest.raises(fsck.FsckError, match=f"begins with {name}:, which is for Sluice to write"):
            fsck.check_message(f"Fix it\n\n{written}: x")


@pytest.mark.parametrize("text", ["", " \t\r\n", "\u3000", f"{SCISSORS}\nFix it", f"\n \n{SCISSORS}\n"])
def test_a_message_has_a_subject(text: str) -> None:
    with pytest.raises(fsck.FsckError):
        fsck.check_message(text)


@pytest.mark.parametrize(
    "text",
    [
        f"Fix it\n{SCISSORS}\n",
        "#12: fix it",
        "Fix it\n---\ndiff --git a/x b/x",
        "Fix it",
        "About Changeset-Id: trailers",
        "Changeset-Ids: two",
        "About Changeset-Submitter: trailers",
        "Submitted-by: A",
        "a\n\nSigned-off-by: A",
    ],
)
def test_any_other_message_is_taken(text: str) -> None:
    fsck.check_message(text)


@pytest.mark.parametrize(
    "name",
    [
        *[
            "",
            "@",
            "HEAD",
            "-a",
            "/a",
            "a/",
            "a//b",
            "a..b",
            ".a",
            "a/.b",
            "a.",
            "a.lock",
            "a.lock/b",
            "a b",
            "a~b",
            "a^",
            "a:b",
        ],
        *["a?", "a*", "a[b", "a\\b", "a@{b", "a\x7f", "a\n", "x" * 201, "é" * 101, "01ARZ3NDEKTSV4RRFFQ69G5FAV"],
    ],
)
def test_a_slices_name_that_is_no_branchs_is_refused(name: str) -> None:
    with pytest.raises(fsck.FsckError):
        fsck.check_slice_name(name)


@pytest.mark.parametrize("name", ["web", "team/web-1", "a@b", "é", "x" * 200, "a.b", "a/-b"])
def test_any_other_name_of_a_slice_is_taken(name: str) -> None:
    fsck.check_slice_name(name)


def test_a_path_has_a_bounded_depth() -> None:
    """A changed file costs a tree for each directory above it."""
    assert fsck.check_path(b"/".join([b"a"] * 100), 4096)
    with pytest.raises(fsck.PathError, match="101 parts"):
        fsck.check_path(b"/".join([b"a"] * 101), 4096)
