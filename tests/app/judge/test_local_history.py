"""Histories are read as Git wrote them: from real repositories, made here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.judge.local_history import FileChange, History, HistoryError, SourceCommit, fit_ident, fit_message, fit_time
from storage.git.fsck import check_ident, check_message
from tests.support.git_repository import GitRepository


@pytest.fixture
def repo(tmp_path: Path) -> GitRepository:
    return GitRepository.begun(tmp_path / "repo")


@pytest.fixture
def history(repo: GitRepository) -> Iterator[Callable[[], History]]:
    """Opens the history of `repo` as it is when called."""
    opened: list[History] = []

    def open_it() -> History:
        opened.append(History(repo.path).__enter__())
        return opened[-1]

    yield open_it
    for each in opened:
        each.__exit__(None, None, None)


def commits(history: History) -> list[SourceCommit]:
    return list(history.commits(history.line()[0]))


def shown(change: FileChange) -> tuple[str, str, str]:
    return change.path, change.old_mode, change.mode


def last_changes(history: History) -> list[FileChange]:
    return sorted(commits(history)[-1].changes, key=lambda change: change.path)


def test_the_line_is_that_of_first_parents_oldest_first(repo: GitRepository, history: Callable[[], History]) -> None:
    first = repo.git("rev-parse", "HEAD")
    repo.git("checkout", "--quiet", "-b", "side")
    repo.write("side.txt")
    repo.commit("On the side")
    repo.git("checkout", "--quiet", "main")
    repo.write("main.txt")
    second = repo.commit("On the line")
    repo.git("merge", "--quiet", "--no-ff", "-m", "Merge", "side")
    third = repo.git("rev-parse", "HEAD")
    found = history()
    assert found.line() == [first, second, third]
    assert (found.head, found.tree) == (third, repo.git("rev-parse", "HEAD^{tree}"))
    merge = commits(found)[-1]
    assert (merge.oid, merge.message) == (third, "Merge\n")
    assert [shown(c) for c in merge.changes] == [("side.txt", "", "100644")], (
        "a merge is what it did to its first parent"
    )


def test_a_merge_that_changed_nothing_of_its_own_line_has_no_changes(
    repo: GitRepository, history: Callable[[], History]
) -> None:
    repo.git("checkout", "--quiet", "-b", "side")
    repo.write("side.txt")
    repo.commit()
    repo.git("checkout", "--quiet", "main")
    repo.git("merge", "--quiet", "--no-ff", "-s", "ours", "-m", "Ours", "side")
    repo.write("after.txt")
    repo.commit()
    assert [[shown(c) for c in commit.changes] for commit in commits(history())] == [[], [("after.txt", "", "100644")]]


def test_a_new_file_a_change_and_a_deletion(repo: GitRepository, history: Callable[[], History]) -> None:
    repo.write("a/new", "new\n")
    repo.write("README", "second\n")
    repo.write("gone")
    repo.commit()
    (repo.path / "gone").unlink()
    repo.write("README", "third\n")
    repo.commit()
    first, second = commits(history())
    assert [shown(c) for c in first.changes] == [
        ("README", "100644", "100644"), ("a/new", "", "100644"), ("gone", "", "100644")
    ]  # fmt: skip
    assert [shown(c) for c in second.changes] == [("README", "100644", "100644"), ("gone", "100644", "")]
    gone = second.changes[1]
    assert gone.deletes
    assert not gone.needs_content
    assert gone.oid == ""


def test_a_renamed_file_is_a_deletion_and_a_new_one(repo: GitRepository, history: Callable[[], History]) -> None:
    repo.git("config", "diff.renames", "copies")
    repo.git("mv", "README", "README.md")
    repo.commit()
    assert [shown(c) for c in last_changes(history())] == [("README", "100644", ""), ("README.md", "", "100644")]


def test_a_change_of_mode_alone_needs_no_content(repo: GitRepository, history: Callable[[], History]) -> None:
    (repo.path / "README").chmod(0o755)
    repo.commit()
    [change] = last_changes(history())
    assert shown(change) == ("README", "100644", "100755")
    assert change.only_mode
    assert not change.needs_content


def test_a_change_of_mode_and_content_is_a_put(repo: GitRepository, history: Callable[[], History]) -> None:
    repo.write("README", "second\n").chmod(0o755)
    repo.commit()
    [change] = last_changes(history())
    assert not change.only_mode
    assert change.needs_content


def test_a_file_that_becomes_a_symlink_with_the_same_bytes_is_a_put(
    repo: GitRepository, history: Callable[[], History]
) -> None:
    repo.write("link", "README")
    repo.commit()
    (repo.path / "link").unlink()
    (repo.path / "link").symlink_to("README")
    repo.commit()
    found = history()
    [change] = last_changes(found)
    assert shown(change) == ("link", "100644", "120000")
    assert change.oid == change.old_oid
    assert not change.only_mode
    assert found.contents([change.oid]) == [b"README"]


def test_a_file_that_becomes_a_directory_and_a_file_again(repo: GitRepository, history: Callable[[], History]) -> None:
    (repo.path / "README").unlink()
    repo.write("README/in", "in\n")
    repo.commit()
    (repo.path / "README/in").unlink()
    (repo.path / "README").rmdir()
    repo.write("README", "again\n")
    repo.commit()
    there, back = commits(history())
    assert sorted(map(shown, there.changes)) == [("README", "100644", ""), ("README/in", "", "100644")]
    assert sorted(map(shown, back.changes)) == [("README", "", "100644"), ("README/in", "100644", "")]


def test_a_submodule_is_a_pointer_without_content_whatever_the_settings(
    repo: GitRepository, history: Callable[[], History]
) -> None:
    for pointer in ("1" * 40, "2" * 40):
        repo.git("update-index", "--add", "--cacheinfo", f"160000,{pointer},lib")
        repo.git("commit", "--quiet", "-m", "Point")
    repo.git("config", "diff.ignoreSubmodules", "all")
    first, second = commits(history())
    assert [(c.path, c.mode, c.oid, c.needs_content) for c in first.changes] == [("lib", "160000", "1" * 40, False)]
    assert [(c.old_oid, c.oid) for c in second.changes] == [("1" * 40, "2" * 40)]


def test_contents_come_as_they_are_in_the_order_asked_for(repo: GitRepository, history: Callable[[], History]) -> None:
    wanted = [b"", b"\0\1\xff\xfe", b"no newline", b"\r\n\r\n", "grüße\n".encode(), b"x" * 300_000, b"\n"]
    for i, content in enumerate(wanted):
        repo.write(f"file{i}", content)
    repo.commit()
    found = history()
    changes = last_changes(found)
    assert found.contents([change.oid for change in changes]) == wanted
    assert found.contents([change.oid for change in reversed(changes)]) == wanted[::-1]
    assert found.contents([]) == []


def test_more_contents_can_be_asked_for_than_a_pipe_holds(repo: GitRepository, history: Callable[[], History]) -> None:
    blob = repo.git("rev-parse", "HEAD:README")
    assert history().contents([blob] * 5000) == [b"first\n"] * 5000


def test_a_content_that_is_missing_is_said(history: Callable[[], History]) -> None:
    with pytest.raises(HistoryError, match="partial clone"):
        history().contents(["1" * 40])


@pytest.mark.parametrize(
    "name", ["with space", "tab\there", 'quo"te', "back\\slash", "grüße", "new\nline", ":100644 x", "\x01"]
)
def test_paths_are_never_quoted(repo: GitRepository, history: Callable[[], History], name: str) -> None:
    repo.write(f"dir/{name}")
    repo.commit()
    repo.write("after")
    repo.commit()
    assert [[c.path for c in commit.changes] for commit in commits(history())] == [[f"dir/{name}"], ["after"]]


def test_a_path_that_is_not_utf8_is_refused_by_name(repo: GitRepository, history: Callable[[], History]) -> None:
    repo.git(
        "update-index",
        "-z",
        "--index-info",
        stdin=b"100644 %s\tlatin-\xe9\0" % repo.git("rev-parse", "HEAD:README").encode(),
    )
    repo.git("commit", "--quiet", "-m", "Latin")
    with pytest.raises(HistoryError, match="not UTF-8"):
        commits(history())


def test_all_files_of_a_commit_are_as_if_it_had_put_them(repo: GitRepository, history: Callable[[], History]) -> None:
    repo.write("bin/run").chmod(0o755)
    (repo.path / "link").symlink_to("README")
    repo.commit()
    found = history()
    assert [(c.path, c.mode, c.old_mode, c.needs_content) for c in found.files(found.head)] == [
        ("README", "100644", "", True), ("bin/run", "100755", "", True), ("link", "120000", "", True)
    ]  # fmt: skip


def test_authors_times_and_zones_are_kept(repo: GitRepository, history: Callable[[], History]) -> None:
    repo.commit("Über\n\nzwei  \nZeilen", GIT_AUTHOR_NAME="Jürgen", GIT_AUTHOR_DATE="1700000000 -0930")
    commit = commits(history())[-1]
    assert (commit.author, commit.email, commit.message) == ("Jürgen", "ada@example.org", "Über\n\nzwei\nZeilen\n")
    assert commit.time == "2023-11-14T12:43:20-09:30"
    assert datetime.fromisoformat(commit.time).timestamp() == 1_700_000_000


@pytest.mark.parametrize(
    ("author", "name", "email", "time"),
    [
        (b" <> 1700000000 +0000", "unknown", "", "2023-11-14T22:13:20+00:00"),
        (b"A\x07b <a@b> 1700000000 +9959", "Ab", "a@b", "2023-11-14T22:13:20+00:00"),
        (b"Ren\xe9 <r@b> 0 +0000", "Ren�", "r@b", "1970-01-01T00:00:00+00:00"),
        (b"A <a@b> 99999999999999 +0000", "A", "a@b", None),
    ],
)
def test_odd_authors_are_made_fit(
    repo: GitRepository, history: Callable[[], History], author: bytes, name: str, email: str, time: str | None
) -> None:
    repo.raw_commit(b"Odd\n", author)
    commit = commits(history())[-1]
    assert (commit.author, commit.email) == (name, email)
    assert time is None or commit.time == time
    datetime.fromisoformat(commit.time)


def test_messages_in_other_encodings_are_read_and_broken_ones_mended(
    repo: GitRepository, history: Callable[[], History]
) -> None:
    repo.raw_commit(b"Gr\xfc\xdfe\n", headers=b"encoding ISO-8859-1\n")
    repo.raw_commit(b"Gr\xfc\xdfe\n")
    assert [commit.message for commit in commits(history())] == ["Grüße\n", "Gr��e\n"]


def test_an_empty_message_is_replaced(repo: GitRepository, history: Callable[[], History]) -> None:
    repo.raw_commit(b"")
    assert commits(history())[-1].message == "(no message)\n"


def test_a_bare_repository_and_a_git_directory_alone_will_do(repo: GitRepository, tmp_path: Path) -> None:
    repo.write("a/b")
    head = repo.commit()
    repo.git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare"))
    for path in (tmp_path / "bare", repo.path / ".git"):
        with History(path) as history:
            assert (history.head, len(commits(history))) == (head, 1)


def test_the_environment_of_a_hook_does_not_lead_elsewhere(
    repo: GitRepository, history: Callable[[], History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert history().head == repo.git("rev-parse", "HEAD")


@pytest.mark.parametrize("made", [False, True])
def test_what_has_no_commits_is_refused(tmp_path: Path, made: bool) -> None:
    if made:
        GitRepository(tmp_path / "empty")
    with pytest.raises(HistoryError), History(tmp_path / ("empty" if made else "missing")):
        pass


def test_reading_can_stop_in_the_middle(repo: GitRepository, history: Callable[[], History]) -> None:
    for i in range(3):
        repo.write("README", f"{i}\n")
        repo.commit()
    found = history()
    reading = found.commits(found.line()[0])
    next(reading)
    reading.close()  # warnings are errors: a process or a pipe left behind would fail this


@given(st.text(), st.text())
def test_the_api_takes_what_is_made_of_any_name_and_address(name: str, email: str) -> None:
    name, email = fit_ident(name.encode(errors="ignore").decode()), fit_ident(email.encode(errors="ignore").decode())
    check_ident(name or "unknown", email)
    assert len(name.encode()) <= 1000


@given(
    st.lists(
        st.text()
        | st.sampled_from(
            ["Changeset-Id: x", " changeset-ID : y", "Changeset-Submitter: z", "\r", "\x85", "\u2028", "Fix\n"]
        )
    )
)
def test_whatever_a_message_is_the_api_takes_what_is_made_of_it(parts: list[str]) -> None:
    message = fit_message("".join(parts).encode(errors="ignore").decode())
    check_message(message)
    assert message.strip()


def test_a_message_loses_nothing_but_what_it_must() -> None:
    assert fit_message("Fix\n\n  it \r\nChangeset-Id: 1\nMore") == "Fix\n\n  it \r\nMore"
    assert fit_message("Changeset-Id: 1\n") == fit_message("Changeset-Submitter: a\n") == "(no message)\n"
    assert len(fit_message("ü" * 100_000).encode()) == 60_000


@given(st.integers(0, 2**33), st.sampled_from("+-"), st.integers(0, 9999))
def test_whatever_the_zone_the_second_is_kept(seconds: int, sign: str, zone: int) -> None:
    text = fit_time(str(seconds), f"{seconds} {sign}{zone:04}")
    assert datetime.fromisoformat(text).timestamp() == seconds


@pytest.mark.parametrize(("seconds", "raw"), [("", ""), ("-5", "-5 +0000"), ("9" * 30, "x"), ("0", "0 zone")])
def test_what_is_no_time_is_the_first_one(seconds: str, raw: str) -> None:
    assert fit_time(seconds, raw) == "1970-01-01T00:00:00+00:00"
