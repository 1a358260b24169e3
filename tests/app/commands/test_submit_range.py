"""`sluice submit --git`: the commits of a local repository, whatever its user's settings and surroundings are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.client.api_client import Client
from app.folder.git_folder import known_commit
from app.folder.git_range import RangeError, read_range
from tests.support.api import Api
from tests.support.collisions import LINES, Run, edit, files, new_id, put, runner
from tests.support.git_repository import GitRepository

Json = dict[str, Any]


@pytest.fixture
def repo(tmp_path: Path) -> GitRepository:
    return GitRepository.begun(tmp_path / "repo")


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with runner(api, monkeypatch) as run:
        yield run


def changes(repo: GitRepository, commits: str = "HEAD") -> dict[str, Json]:
    """The changes of a range, by path."""
    return {change.pop("path"): change for change in read_range(repo.path, commits).changeset["changes"]}


def message(repo: GitRepository, commits: str = "HEAD") -> str:
    return str(read_range(repo.path, commits).changeset.get("message", ""))


def blob(repo: GitRepository, path: str, commit: str = "HEAD") -> str:
    return repo.git("rev-parse", f"{commit}:{path}")


def test_each_change_says_which_version_it_was_made_from(repo: GitRepository) -> None:
    repo.write("gone")
    repo.write("é 日本\tx\n", "name\n")
    repo.commit("Second")
    repo.write("README", "second\n")
    repo.write("new/file", b"\xff\0")
    repo.git("rm", "--quiet", "gone")
    repo.commit("Third")
    assert changes(repo) == {
        "README": {"op": "put", "base": blob(repo, "README", "HEAD~1"), "mode": "100644", "content": "second\n"},
        "gone": {"op": "delete", "base": blob(repo, "gone", "HEAD~1")},
        "new/file": {"op": "put", "base": None, "mode": "100644", "content_base64": "/wA="},
    }
    assert changes(repo, "HEAD~1")["é 日本\tx\n"]["content"] == "name\n"


def test_the_first_commit_puts_all_of_its_files(repo: GitRepository) -> None:
    assert changes(repo) == {"README": {"op": "put", "base": None, "mode": "100644", "content": "first\n"}}


def test_modes_links_submodules_and_changes_of_kind_are_what_git_says(repo: GitRepository) -> None:
    repo.write("tool", "run\n")
    repo.write("file", "text\n")
    first = repo.commit("Files")
    (repo.path / "tool").chmod(0o755)
    (repo.path / "file").unlink()
    (repo.path / "file").symlink_to("to/é")
    repo.git("add", "--all")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{first},module")
    repo.git("commit", "--quiet", "-m", "Kinds")
    tool, file = (blob(repo, path, first) for path in ("tool", "file"))
    assert changes(repo) == {
        "tool": {"op": "mode", "base": tool, "mode": "100755"},
        "file": {"op": "put", "base": file, "mode": "120000", "content": "to/é"},
        "module": {"op": "put", "base": None, "mode": "160000", "id": first},
    }
    repo.git("rm", "--quiet", "--cached", "module")
    repo.git("commit", "--quiet", "-m", "Without")
    assert changes(repo) == {"module": {"op": "delete", "base": first}}


def test_a_rename_is_a_delete_and_a_put_whatever_a_user_has_set(repo: GitRepository) -> None:
    repo.git("config", "diff.renames", "copies")
    repo.git("mv", "README", "READ.ME")
    repo.commit("Rename")
    assert {path: change["op"] for path, change in changes(repo).items()} == {"READ.ME": "put", "README": "delete"}


def test_a_file_that_becomes_a_folder_is_both(repo: GitRepository) -> None:
    (repo.path / "README").unlink()
    repo.write("README/now", "a folder\n")
    repo.commit("Folder")
    assert {path: change["op"] for path, change in changes(repo).items()} == {"README": "delete", "README/now": "put"}


def side_by_side(repo: GitRepository) -> None:
    """Commit a on main, b on side, and merge side into main."""
    repo.git("checkout", "--quiet", "-b", "side")
    repo.write("b")
    repo.commit("On the side")
    repo.git("checkout", "--quiet", "main")
    repo.write("a")
    repo.commit("On main")
    repo.git("tag", "before")
    repo.git("merge", "--quiet", "--no-ff", "-m", "Merge side", "side")


def test_a_merge_is_what_it_brought_to_its_first_parent(repo: GitRepository) -> None:
    side_by_side(repo)
    assert changes(repo).keys() == {"b"} and message(repo) == "Merge side"


def test_two_dots_compare_both_ends_and_three_the_merge_base(repo: GitRepository) -> None:
    side_by_side(repo)
    assert {path: change["op"] for path, change in changes(repo, "before..side").items()} == {"a": "delete", "b": "put"}
    assert changes(repo, "before...side").keys() == {"b"}
    assert changes(repo, "before..").keys() == {"b"} == changes(repo, "before..HEAD").keys()


def test_of_several_commits_the_message_has_all_and_the_author_of_the_last(repo: GitRepository) -> None:
    repo.write("a")
    repo.commit("First\n\nWith words")
    repo.write("b")
    repo.commit("Second", GIT_AUTHOR_NAME="Bob", GIT_AUTHOR_EMAIL="bob@example.org", GIT_AUTHOR_DATE="100000000 -0130")
    found = read_range(repo.path, "HEAD~2..").changeset
    assert found["message"] == "Second\n\n* First\n* Second"
    assert found["author"] == {"name": "Bob", "email": "bob@example.org"}
    assert found["time"] == "1973-03-03T08:16:40-01:30"


@pytest.mark.parametrize("end", ["\f", "\v", "\x85", "\u2028", "\u2029", "\x1c", "\r"])
def test_only_a_line_feed_ends_a_line_of_a_message(repo: GitRepository, end: str) -> None:
    text = f"Subject{end}still\n\nOne{end}line"
    repo.raw_commit(f"{text}\n".encode())
    assert message(repo) == text
    repo.raw_commit(b"Last\n")
    assert message(repo, "HEAD~2..") == f"Last\n\n* Subject{end}still\n* Last"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("S\n\nText\n\nChangeset-Id: 01A\n", "S\n\nText"),
        ("S\n\nSigned-off-by: A <a@b.c>\nchangeset-id : 01A\nX: y\n", "S\n\nSigned-off-by: A <a@b.c>\nX: y"),
        ("S\n\nX: y\nChangeset-Id: 01A\nChangeset-Submitter: user:ada\n", "S\n\nX: y"),
        ("S\n\nchangeset-ids are long\n", "S\n\nchangeset-ids are long"),
        ("changeset-id without a colon\n\nchangeset-id too\n", "changeset-id without a colon\n\nchangeset-id too"),
        ("S\n\nSee the Changeset-Id: of it\n", "S\n\nSee the Changeset-Id: of it"),
        ("S\n\nChangeset-Id: in the text\n\nmore\n", "S\n\nChangeset-Id: in the text\n\nmore"),
    ],
)
def test_only_a_trailer_that_counts_as_sluices_own_is_dropped(repo: GitRepository, written: str, kept: str) -> None:
    repo.raw_commit(written.encode())
    assert message(repo) == kept


def test_a_message_is_read_in_the_encoding_that_its_commit_names(repo: GitRepository) -> None:
    repo.raw_commit(
        "Zoë war's\n".encode("latin-1"), "Zoë <zoe@example.org> 1 +0000".encode("latin-1"),
        b"encoding ISO-8859-1\n",
    )  # fmt: skip
    found = read_range(repo.path, "HEAD").changeset
    assert found["message"] == "Zoë war's" and found["author"]["name"] == "Zoë"


@pytest.mark.parametrize("headers", [b"", b"encoding UTF-8\n", b"encoding no-such\n", b"encoding rot13\n"])
def test_a_message_that_cannot_be_read_is_refused_with_its_commit(repo: GitRepository, headers: bytes) -> None:
    commit = repo.raw_commit(b"Zo\xeb\n", headers=headers)
    with pytest.raises(RangeError, match=commit):
        read_range(repo.path, "HEAD")


def test_the_headers_of_a_signature_are_no_headers_of_the_commit(repo: GitRepository) -> None:
    signature = (
        b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n author Eve <eve@example.org> 1 +0000\n encoding x\n -----END\n"
    )
    repo.raw_commit(b"Signed\n", headers=signature)
    found = read_range(repo.path, "HEAD").changeset
    assert found["message"] == "Signed" and found["author"]["name"] == "Ada"


SETTINGS = {
    "log.showSignature": "true", "i18n.logOutputEncoding": "ISO-8859-1", "i18n.commitEncoding": "UTF-8",
    "core.quotePath": "true", "diff.noprefix": "true", "diff.ignoreSubmodules": "all", "log.date": "relative",
    "color.ui": "always", "core.abbrev": "7", "diff.orderFile": "/dev/null", "format.pretty": "oneline",
    "log.mailmap": "true", "core.pager": "false", "diff.external": "false", "diff.relative": "true",
}  # fmt: skip


def test_no_setting_of_a_user_changes_what_is_submitted(
    repo: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "settings"))
    repo.write("é", "1")
    repo.write(".mailmap", "Eve <eve@example.org> <ada@example.org>\n")
    module = repo.git("rev-parse", "HEAD")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{module},module")
    repo.git("add", "--all", "--", "é", ".mailmap")
    repo.git("commit", "--quiet", "-m", "Zoë", environ={"GIT_AUTHOR_NAME": "Zoë"})
    before = read_range(repo.path, "HEAD")
    assert before.changeset["author"]["name"] == "Zoë" and "module" in before.files
    for name, value in SETTINGS.items():
        repo.git("config", "--file", str(tmp_path / "settings"), name, value)
        repo.git("config", name, value)
    assert read_range(repo.path, "HEAD") == before


def test_in_a_hook_it_reads_the_repository_that_was_named(
    repo: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = GitRepository(tmp_path / "other")
    other.write("other")
    other.commit("Other")
    before = read_range(repo.path, "HEAD")
    for name, value in {
        "GIT_DIR": str(other.path / ".git"), "GIT_WORK_TREE": str(other.path), "GIT_PREFIX": "sub/",
        "GIT_INDEX_FILE": str(other.path / ".git/index"), "GIT_OBJECT_DIRECTORY": str(other.path / ".git/objects"),
        "GIT_CONFIG_PARAMETERS": "'core.bare=true'", "GIT_NAMESPACE": "x", "GIT_TRACE": "1",
        "GIT_EXTERNAL_DIFF": "false", "GIT_DIFF_OPTS": "-u0", "GIT_LITERAL_PATHSPECS": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert read_range(repo.path, "HEAD") == before


def test_replace_refs_change_nothing(repo: GitRepository) -> None:
    repo.write("a")
    real = repo.commit("Real")
    before = read_range(repo.path, real)
    repo.write("b")
    repo.git("replace", real, repo.commit("Replaced"))
    assert read_range(repo.path, real) == before


@pytest.mark.parametrize("commits", ["", " ", "..", "...", "no-such", "HEAD..no-such", "-x", "^HEAD", "HEAD:README"])
def test_what_names_no_commits_is_a_wrong_line(run: Run, repo: GitRepository, commits: str) -> None:
    run("submit", "all", repo.path, "--git", commits, "-m", "m", code=2)


def test_what_is_no_repository_is_a_wrong_line(run: Run, tmp_path: Path) -> None:
    assert "not a git repository" in run("submit", "all", tmp_path, "--git", "HEAD", "-m", "m", code=2).stderr


def test_a_range_lands_with_its_author_and_its_time(api: Api, run: Run, repo: GitRepository) -> None:
    repo.write("a", "1\n")
    repo.commit("Add a")
    run("submit", "all", repo.path, "--git", "HEAD~1..")
    assert files(api) == {"a": b"1\n"}
    [commit] = api.get("/slices/all/commits")["items"]
    assert commit["author"] == {"name": "Ada", "email": "ada@example.org"}
    assert commit["time"] == "2023-11-15T03:43:20+05:30" and commit["message"].startswith("Add a\n")


def test_the_same_range_twice_lands_once(api: Api, run: Run, repo: GitRepository) -> None:
    line = ("submit", "all", repo.path, "--git", "HEAD")
    first = new_id(run(*line))
    assert new_id(run(*line)) == first, "while it is queued"
    api.world.work()
    for more in ((), ("-m", "In other words"), ("--wait",), ("--key", "another")):
        answer = run(*line, *more)
        assert answer.stdout == "" and "all of it is there already" in answer.stderr
    assert json.loads(run(*line, "--json").stdout) == {"changes": []}
    api.world.work()
    assert [commit["changeset"] for commit in api.get("/slices/all/commits")["items"]] == [first]


def test_a_range_that_takes_back_what_waits_lands_behind_it(api: Api, run: Run, repo: GitRepository) -> None:
    run("submit", "all", repo.path, "--git", "HEAD")
    api.world.work()
    for content in ("second\n", "first\n"):
        repo.write("README", content)
        repo.commit(content)
        run("submit", "all", repo.path, "--git", "HEAD")
    assert files(api) == {"README": b"first\n"}
    assert len(api.get("/slices/all/commits")["items"]) == 3


def test_a_range_is_merged_into_what_moved(api: Api, run: Run, repo: GitRepository) -> None:
    api.submit(base=api.tip, changes=[put("f", LINES)])
    api.world.work()
    repo.write("f", LINES)
    repo.commit("Lines")
    api.submit(base=api.tip, changes=[put("f", edit(5, "head"))])
    api.world.work()
    repo.write("f", edit(15, "mine"))
    repo.commit("Mine")
    run("submit", "all", repo.path, "--git", "HEAD")
    assert files(api) == {"f": edit(15, "mine", edit(5, "head")).encode()}


def test_a_file_that_the_slice_does_not_cover_is_named(api: Api, run: Run, repo: GitRepository) -> None:
    api.post("/slices", {"name": "web", "paths": ["web/"]}, 201)
    repo.write("web/a")
    repo.commit("Web")
    assert "the slice web does not cover README" in run("submit", "web", repo.path, "--git", "HEAD~1", code=2).stderr
    run("submit", "web", repo.path, "--git", "HEAD")
    assert files(api).keys() == {"web/a"}


def test_what_is_sluices_own_is_left_out_of_a_range(api: Api, run: Run, repo: GitRepository) -> None:
    repo.write(".sluice/environment", "SLUICE_S3_SECRET_KEY=x\n")
    repo.write("a")
    repo.commit("With a secret")
    assert "left out: .sluice/environment" in run("submit", "all", repo.path, "--git", "HEAD").stderr
    assert files(api).keys() == {"a"}


def test_commits_without_a_message_need_one(api: Api, run: Run, repo: GitRepository) -> None:
    repo.raw_commit(b"")
    repo.write("a")
    repo.git("add", "a")
    repo.raw_commit(b"\n\n")
    assert "-m" in run("submit", "all", repo.path, "--git", "HEAD", code=2).stderr
    run("submit", "all", repo.path, "--git", "HEAD", "-m", "Add a")
    assert files(api).keys() == {"a"}


@pytest.mark.parametrize("where", ["top", "sub"])
def test_a_folder_that_git_tracks_was_made_from_the_versions_in_head(
    api: Api, run: Run, repo: GitRepository, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = repo.path if where == "top" else repo.path / "sub"
    api.submit(base=api.tip, changes=[put("f", LINES), put("g", "1\n")])
    api.world.work()
    (repo.path / "README").unlink()
    for name, content in (("f", LINES), ("g", "1\n")):
        repo.write(str((folder / name).relative_to(repo.path)), content)
    repo.commit("As it is there")
    api.submit(base=api.tip, changes=[put("f", edit(5, "colleague")), put("new", "1\n")])
    api.world.work()
    (folder / "f").write_text(edit(15, "mine"))
    (folder / "mine").write_text("2\n")
    run("submit", "all", folder, "-m", "m", "--delete")
    expected = {"g": b"1\n", "new": b"1\n", "mine": b"2\n"}
    assert files(api) == {"f": edit(15, "mine", edit(5, "colleague")).encode(), **expected}
    (folder / "f").write_text(edit(10, "again", edit(15, "mine")))
    run("submit", "all", folder, "-m", "m", "--delete")
    assert files(api)["f"] == edit(5, "colleague", edit(10, "again", edit(15, "mine"))).encode()
    monkeypatch.chdir(folder)
    assert "nothing differs" in run("submit", "all", "-m", "m", "--delete").stderr


def test_the_first_files_of_a_slice_are_not_taken_for_no_difference(api: Api, run: Run, repo: GitRepository) -> None:
    answer = run("submit", "all", repo.path, "-m", "Import", "--wait", code=2)
    assert "--git HEAD" in answer.stderr and f"such as {api.tip}" in answer.stderr
    run("submit", "all", repo.path, "-m", "Import", "--base", api.tip)
    assert files(api) == {"README": b"first\n"}


def test_a_clone_of_an_export_was_made_from_the_commit_that_it_is_at(
    api: Api, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.admin.export import export

    api.submit(base=api.tip, changes=[put("f", LINES), put("g", "1\n")])
    api.world.work()
    export(api.world.repo.settings, tmp_path / "export")
    clone = GitRepository(tmp_path / "clone")
    clone.git("pull", "--quiet", str(tmp_path / "export"), "main")
    api.submit(base=api.tip, changes=[put("f", edit(5, "colleague")), put("new", "1\n")])
    api.world.work()
    clone.write("f", edit(15, "mine"))
    clone.commit("A commit of one's own")
    (clone.path / "g").unlink()
    run("submit", "all", clone.path, "-m", "m", "--delete")
    assert files(api) == {"f": edit(15, "mine", edit(5, "colleague")).encode(), "new": b"1\n"}


@pytest.mark.parametrize("own", [1, 2, 20, 21, 25])
def test_a_clone_of_an_export_is_based_on_it_under_any_own_commits(
    api: Api, run: Run, tmp_path: Path, own: int
) -> None:
    from app.admin.export import export

    for number in range(3):
        api.submit(base=api.tip, changes=[put("f", LINES), put("g", f"{number}\n")])
        api.world.work()
    export(api.world.repo.settings, tmp_path / "export")
    clone = GitRepository(tmp_path / "clone")
    clone.git("pull", "--quiet", str(tmp_path / "export"), "main")
    newest = clone.git("rev-parse", "HEAD")
    for number in range(own):
        clone.write("mine", f"{number}\n")
        clone.commit("A commit of one's own")
    client = Client(os.environ["SLUICE_API_URL"])
    assert known_commit(client, "all", clone.path, clone.git("rev-parse", "HEAD")) == newest
    run("submit", "all", clone.path, "-m", "m")
    assert files(api) == {"f": LINES.encode(), "g": b"2\n", "mine": f"{own - 1}\n".encode()}


def test_commits_that_sluice_lacks_are_never_taken_for_no_difference(api: Api, run: Run, repo: GitRepository) -> None:
    api.submit(base=api.tip, changes=[put("README", "first\n")])
    api.world.work()
    assert "nothing differs" in run("submit", "all", repo.path, "-m", "m").stderr, "HEAD is as it is there"
    repo.write("README", "second\n")
    repo.commit("Committed, and never submitted")
    for line in (("submit", "all", repo.path, "-m", "m", "--wait"), ("check", "all", repo.path)):
        answer = run(*line, code=2)
        assert all(each in answer.stderr for each in ("README", "--git RANGE", "--base COMMIT"))
    repo.write("more", "1\n")
    assert "not submitted, as in HEAD" in (answer := run("submit", "all", repo.path, "-m", "m")).stderr
    assert "README" in answer.stderr and files(api) == {"README": b"first\n", "more": b"1\n"}
    run("submit", "all", repo.path, "--git", "HEAD")
    assert files(api)["README"] == b"second\n"


def test_a_committed_deletion_is_never_taken_for_no_difference(api: Api, run: Run, repo: GitRepository) -> None:
    api.submit(base=api.tip, changes=[put("README", "first\n"), put("gone", "1\n")])
    api.world.work()
    assert "gone" in run("submit", "all", repo.path, "-m", "m", "--delete", code=2).stderr
    assert "nothing differs" in run("submit", "all", repo.path, "-m", "m").stderr


def test_what_git_takes_for_renamed_is_submitted_as_moved(api: Api, run: Run, repo: GitRepository) -> None:
    repo.write("old", LINES)
    repo.write("run", "#!/bin/sh\n" + LINES)
    repo.write("small", "1\n")
    repo.write("here/.gitattributes", "*.bin -text\n" * 9)
    repo.commit("Base")
    repo.git("mv", "old", "new")
    repo.git("mv", "run", "tool")
    repo.git("mv", "small", "other")
    repo.write("other", "something else\n")
    (repo.path / "there").mkdir()
    repo.git("mv", "here/.gitattributes", "there/.gitattributes")
    repo.write("tool", "#!/bin/sh\n" + edit(5, "ours"))
    repo.git("update-index", "--chmod=+x", "tool")
    repo.commit("Rename")
    found = {change["path"]: change for change in read_range(repo.path, "HEAD", True).changeset["changes"]}
    assert found["new"] == {"op": "move", "path": "new", "from": "old", "base": blob(repo, "old", "HEAD~1")}
    assert found["tool"].items() >= {"op": "move", "from": "run", "base": blob(repo, "run", "HEAD~1")}.items()
    assert found["tool"]["content"] == "#!/bin/sh\n" + edit(5, "ours")
    ops = {path: change["op"] for path, change in found.items() if change["op"] != "move"}
    assert ops == {
        "small": "delete", "other": "put", "here/.gitattributes": "delete", "there/.gitattributes": "put",
    }  # fmt: skip
    assert all(change["op"] != "move" for change in read_range(repo.path, "HEAD").changeset["changes"])


def test_a_rename_in_git_takes_along_what_others_changed(api: Api, run: Run, repo: GitRepository) -> None:
    repo.write("old", LINES)
    repo.commit("Base")
    api.submit(base=api.tip, changes=[put("old", LINES), put("README", (repo.path / "README").read_text())])
    api.world.work()
    repo.git("mv", "old", "new")
    repo.write("new", edit(5, "ours"))
    repo.commit("Rename")
    api.submit(base=api.tip, changes=[put("old", edit(15, "theirs"))])
    api.world.work()
    shown = run("submit", "all", repo.path, "--git", "HEAD", "--moves", "--dry-run")
    assert shown.stdout == "move   old => new\n"
    refused = run("submit", "all", repo.path, "--moves", code=2)
    assert "--moves goes with --git" in refused.output
    made = new_id(run("submit", "all", repo.path, "--git", "HEAD", "--moves"))
    assert files(api)["new"].decode() == edit(15, "theirs", edit(5, "ours")) and "old" not in api.world.files()
    printed = run("diff", made).stdout
    assert "diff --git a/old b/new\nrename from old\nrename to new\n" in printed and "--- a/old\n+++ b/new\n" in printed
    assert "old => new" in run("diff", made, "--stat").stdout
    again = run("submit", "all", repo.path, "--git", "HEAD", "--moves")
    assert "there already" in again.output or made in again.output
