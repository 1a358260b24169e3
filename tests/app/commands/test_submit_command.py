"""`sluice submit DIR`: what its user saw, whose work it is, and what a repeat does."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from app import cli
from app.client.api_client import Client
from app.folder.folder_base import FILE
from tests.support.api import Api
from tests.support.collisions import LINES, Run, edit, files, new_id, put, runner


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with runner(api, monkeypatch) as run:
        yield run


def land(api: Api, **contents: str) -> str:
    """Land files, by their names, and return the tip."""
    api.submit(base=api.tip, changes=[put(path, content) for path, content in contents.items()])
    api.world.work()
    return api.tip


def commits(api: Api) -> list[str]:
    api.world.work()
    return [commit["changeset"] for commit in api.get("/slices/all/commits")["items"]]


def test_a_folder_that_nobody_knows_the_base_of_is_refused_and_told_how(api: Api, run: Run, tmp_path: Path) -> None:
    land(api, f=LINES)
    (tmp_path / "f").write_text("older\n")
    for verb in (("submit", "-m", "m"), ("check",)):
        answer = run(verb[0], "all", tmp_path, *verb[1:], code=2)
        assert "sluice checkout all" in answer.stderr and "--base COMMIT" in answer.stderr
        assert api.tip not in answer.stderr, "what its user did not see is not put into their mouth"
    assert len(commits(api)) == 1


def test_a_folder_older_than_a_colleagues_changes_reverts_none_of_them(api: Api, run: Run, tmp_path: Path) -> None:
    land(api, f=LINES, g="1\n")
    run("checkout", "all", tmp_path / "work")
    shutil.copytree(tmp_path / "work", tmp_path / "copy")
    land(api, f=edit(5, "colleague"), new="theirs\n")
    (tmp_path / "copy" / "f").write_text(edit(15, "mine"))
    run("submit", "all", tmp_path / "copy", "-m", "m", "--delete")
    assert files(api) == {"f": edit(15, "mine", edit(5, "colleague")).encode(), "g": b"1\n", "new": b"theirs\n"}


def test_a_submission_updates_what_was_seen_by_its_own_files_only(api: Api, run: Run, tmp_path: Path) -> None:
    land(api, f=LINES)
    work = tmp_path / "work"
    run("checkout", "all", work)
    land(api, f=edit(5, "colleague"), theirs="1\n")
    (work / "f").write_text(edit(15, "mine"))
    run("submit", "all", work, "-m", "First")
    api.world.work()
    land(api, more="2\n")
    (work / "f").write_text(edit(10, "again", edit(15, "mine")))
    run("submit", "all", work, "-m", "Second", "--delete")
    expected = edit(5, "colleague", edit(10, "again", edit(15, "mine")))
    assert files(api) == {"f": expected.encode(), "theirs": b"1\n", "more": b"2\n"}
    assert "nothing differs" in run("submit", "all", work, "-m", "Third", "--delete").stderr


def test_submissions_from_a_folder_stand_on_each_other_without_waiting(api: Api, run: Run, tmp_path: Path) -> None:
    work = tmp_path / "work"
    run("checkout", "all", work)
    for number in range(3):
        (work / "f").write_text(f"{number}\n")
        (work / f"only-{number}").write_text("x")
        (work / f"only-{number - 1}").unlink(missing_ok=True)
        answer = run("submit", "all", work, "-m", f"Number {number}", "--delete")
        assert ("on top of" in answer.stderr) == (number > 0)
    assert files(api) == {"f": b"2\n", "only-2": b"x"}


def test_what_came_to_nothing_was_not_seen_and_is_submitted_again(api: Api, run: Run, tmp_path: Path) -> None:
    land(api, f=LINES)
    work = tmp_path / "work"
    run("checkout", "all", work)
    (work / "f").write_text(edit(5, "mine"))
    first = new_id(run("submit", "all", work, "-m", "First", "--hold"))
    run("abandon", first)
    (work / "g").write_text("1\n")
    answer = run("submit", "all", work, "-m", "Second")
    assert f"{first} was abandoned" in answer.stderr
    assert files(api) == {"f": edit(5, "mine").encode(), "g": b"1\n"}


def test_after_a_conflict_the_base_is_what_was_before_it(api: Api, run: Run, tmp_path: Path) -> None:
    land(api, f=LINES)
    work = tmp_path / "work"
    run("checkout", "all", work)
    land(api, f=edit(5, "colleague"))
    (work / "f").write_text(edit(5, "mine"))
    first = new_id(run("submit", "all", work, "-m", "First"))
    api.world.work()
    (work / "f").write_text(edit(15, "mine"))
    answer = run("submit", "all", work, "-m", "Second")
    assert f"{first} was conflicted" in answer.stderr
    assert files(api) == {"f": edit(15, "mine", edit(5, "colleague")).encode()}


def test_a_base_that_is_named_counts_and_is_remembered(api: Api, run: Run, tmp_path: Path) -> None:
    base = land(api, f=LINES)
    land(api, f=edit(5, "colleague"))
    (tmp_path / "f").write_text(edit(15, "mine"))
    run("submit", "all", tmp_path, "-m", "m", "--base", base)
    (tmp_path / "f").write_text(edit(10, "again", edit(15, "mine")))
    run("submit", "all", tmp_path, "-m", "m")
    assert files(api) == {"f": edit(5, "colleague", edit(10, "again", edit(15, "mine"))).encode()}


def test_what_was_seen_is_found_before_any_file_is_read(
    api: Api, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(api, f=LINES)
    work = tmp_path / "work"
    run("checkout", "all", work)
    (work / "f").write_text(edit(15, "mine"))
    listed = Client.tree

    def change_meanwhile(client: Client, *arguments: str) -> Iterator[dict[str, object]]:
        (work / "f").write_text(edit(10, "while it was asked", edit(15, "mine")))
        return listed(client, *arguments)

    monkeypatch.setattr(Client, "tree", change_meanwhile)
    run("submit", "all", work, "-m", "m")
    assert files(api) == {"f": edit(10, "while it was asked", edit(15, "mine")).encode()}


def test_only_what_was_checked_out_is_deleted_when_a_slice_grows(api: Api, run: Run, tmp_path: Path) -> None:
    api.post("/slices", {"name": "web", "paths": ["web/"]}, 201)
    land(api, **{"web/a": "1", "doc/b": "2"})
    run("checkout", "web", tmp_path / "work")
    run("slice", "change", "web", "--path", "web/", "--path", "doc/")
    (tmp_path / "work" / "web" / "a").unlink()
    run("submit", "web", tmp_path / "work", "-m", "m", "--delete")
    assert files(api) == {"doc/b": b"2"}


def test_a_folder_of_a_slice_says_nothing_about_another_slices_files(api: Api, run: Run, tmp_path: Path) -> None:
    for name in ("web", "doc"):
        api.post("/slices", {"name": name, "paths": [f"{name}/"]}, 201)
    land(api, **{"web/a": "1", "doc/b": "2"})
    run("checkout", "web", tmp_path / "work")
    (tmp_path / "work" / "doc").mkdir()
    (tmp_path / "work" / "doc" / "b").write_text("never seen")
    run("submit", "doc", tmp_path / "work", "-m", "m", code=2)
    run("submit", "all", tmp_path / "work", "-m", "m", "--delete")
    assert files(api) == {"web/a": b"1", "doc/b": b"2"}


@pytest.mark.parametrize("damage", ["{", "[]", '{"version": 1}', '{"version": 99}'])
def test_a_damaged_memory_is_no_memory(api: Api, run: Run, tmp_path: Path, damage: str) -> None:
    land(api, f="1")
    (tmp_path / "f").write_text("2")
    (tmp_path / FILE).write_text(damage)
    assert FILE in run("submit", "all", tmp_path, "-m", "m", code=2).stderr
    run("submit", "all", tmp_path, "-m", "m", "--base", api.tip)
    assert files(api) == {"f": b"2"}


def test_the_wrong_folder_is_no_folder_without_changes(api: Api, run: Run, tmp_path: Path) -> None:
    api.post("/slices", {"name": "web", "paths": ["web/"]}, 201)
    land(api, **{"web/a": "1"})
    (tmp_path / "web").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "web" / "a").write_text("2")
    base = ("--base", api.tip, "-m", "m", "--wait")
    answer = run("submit", "web", tmp_path / "web", *base, code=2)
    assert "has no file that the slice web covers (web/); outside of it: a" in answer.stderr
    for more in ((), ("--delete",)):
        run("submit", "web", tmp_path / "empty", *base, *more, code=2)
    assert run("check", "web", tmp_path / "empty", "--base", api.tip, code=2).stdout == ""
    assert files(api) == {"web/a": b"1"}


def test_within_a_checkout_the_whole_of_it_is_submitted(
    api: Api, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(api, **{"web/a": "1"})
    run("checkout", "all", tmp_path)
    (tmp_path / "b").write_text("2")
    assert f"is within {tmp_path}" in run("submit", "all", tmp_path / "web", "-m", "m", code=2).stderr
    monkeypatch.chdir(tmp_path / "web")
    run("submit", "all", "-m", "m")
    assert files(api) == {"web/a": b"1", "b": b"2"}


def test_a_checkout_that_lost_all_its_files_says_so(api: Api, run: Run, tmp_path: Path) -> None:
    land(api, f="1", g="2")
    run("checkout", "all", tmp_path)
    (tmp_path / "f").unlink()
    assert "not in the folder: 1 (--delete" in run("submit", "all", tmp_path, "-m", "m").stderr
    (tmp_path / "g").unlink()
    assert "--delete deletes the 2" in run("submit", "all", tmp_path, "-m", "m", code=2).stderr
    run("submit", "all", tmp_path, "-m", "m", "--delete")
    assert files(api) == {}


def test_a_name_that_is_not_utf8_is_submitted_as_any_other(api: Api, run: Run, tmp_path: Path) -> None:
    api.post("/slices", {"name": "web", "paths": ["web/"]}, 201)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a").write_text("1")
    (tmp_path / os.fsdecode(b"\xff")).write_text("1")
    run("submit", "web", tmp_path, "-m", "m", "--base", api.tip)
    assert files(api) == {"web/a": b"1"}
    run("submit", "all", tmp_path, "-m", "m", "--base", api.tip)
    assert files(api) == {"web/a": b"1", "\udcff": b"1"}
    (tmp_path / "web" / "a").rename(tmp_path / "b")
    assert "outside of it: b" in run("submit", "web", tmp_path, "-m", "m", "--base", api.tip, code=2).stderr


def test_what_is_neither_a_file_nor_a_link_is_named(api: Api, run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    answer = run("submit", "all", tmp_path, "-m", "m", "--base", api.tip, code=2)
    assert "pipe is neither a file nor a symlink" in answer.stderr


def test_an_unreadable_file_is_named(api: Api, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("1")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    answer = run("submit", "all", tmp_path, "-m", "m", "--base", api.tip, code=2)
    assert f"{tmp_path / 'secret'} cannot be read: Permission denied" in answer.stderr


def test_the_author_is_who_git_says(api: Api, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GIT_AUTHOR_EMAIL")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "settings"))
    (tmp_path / "settings").write_text("[user]\n\tname = Nobody\n\temail = zoe@example.org\n")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "f").write_text("1")
    run("submit", "all", tmp_path / "work", "-m", "m", "--base", api.tip)
    monkeypatch.delenv("GIT_AUTHOR_NAME")
    (tmp_path / "settings").write_text("[user]\n\tname = Zoë\n\temail = zoe@example.org\n", "utf-8")
    (tmp_path / "work" / "f").write_text("2")
    run("submit", "all", tmp_path / "work", "-m", "m")
    (tmp_path / "work" / "f").write_text("3")
    run("submit", "all", tmp_path / "work", "-m", "m", "--author", "Bob <bob@example.org>")
    commits(api)
    authors = [commit["author"] for commit in api.get("/slices/all/commits")["items"]]
    assert [(each["name"], each["email"]) for each in authors] == [
        ("Ada", "zoe@example.org"), ("Zoë", "zoe@example.org"), ("Bob", "bob@example.org"),
    ]  # fmt: skip


def test_without_a_terminal_an_unknown_author_is_refused_and_told_how(
    api: Api, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (tmp_path / "f").write_text("1")
    line = ("all", tmp_path, "-m", "m", "--base", api.tip)
    assert "--author 'NAME <EMAIL>'" in run("submit", *line, code=2).stderr
    assert commits(api) == []
    run("submit", *line, "--dry-run")
    run("check", "all", tmp_path, "--base", api.tip)
    run("submit", *line, "--author", "Bob <bob@example.org>")
    assert len(commits(api)) == 1


def test_a_terminal_is_asked_who_it_is(api: Api, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.commands.writer.submit.git_author", lambda _: None)
    monkeypatch.setattr("app.commands.writer.submit._is_asked", lambda: True)
    (tmp_path / "f").write_text("1")
    line = ["submit", "all", str(tmp_path), "-m", "m", "--base", api.tip]
    answer = CliRunner().invoke(cli.cli, line, input="Zoë\nzoe@example.org\n")
    assert answer.exit_code == 0, answer.output
    commits(api)
    [commit] = api.get("/slices/all/commits")["items"]
    assert commit["author"] == {"name": "Zoë", "email": "zoe@example.org"}


def test_the_same_command_twice_is_one_changeset(api: Api, run: Run, tmp_path: Path) -> None:
    base = land(api, f=LINES)
    (tmp_path / "f").write_text(edit(5, "mine"))
    line = ("submit", "all", tmp_path, "-m", "m", "--base", base)
    first = new_id(run(*line))
    assert new_id(run(*line)) == first
    assert len(commits(api)) == 2
    again = run(*line)
    assert again.stdout == "" and "all of it is there already" in again.stderr
    land(api, f=edit(5, "otherwise"))
    assert new_id(run(*line)) == first, "it has landed, and somebody has changed it since"
    run(*line, "--key", "once more", "--wait", "--timeout", "0", code=5)
    assert len(commits(api)) == 3


def test_what_came_to_nothing_can_be_submitted_again(api: Api, run: Run, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("1")
    line = ("submit", "all", tmp_path, "-m", "m", "--base", api.tip)
    first = new_id(run(*line))
    run("abandon", first)
    second = new_id(run(*line))
    assert second != first and commits(api) == [second]


def test_what_takes_back_something_that_waits_is_not_taken_for_nothing(api: Api, run: Run, tmp_path: Path) -> None:
    land(api, f="1")
    work = tmp_path / "work"
    run("checkout", "all", work)
    for number, content in enumerate(("2", "1")):
        (work / "f").write_text(content)
        run("submit", "all", work, "-m", f"Number {number}")
    assert files(api) == {"f": b"1"} and len(commits(api)) == 3


def collided(api: Api, run: Run, directory: Path) -> tuple[tuple[object, ...], str]:
    """Submit what collides with a colleague's line; return the command line, and the changeset."""
    base = land(api, f=LINES)
    land(api, f=edit(5, "colleague"))
    (directory / "f").write_text(edit(5, "mine"))
    line = ("submit", "all", directory, "-m", "m", "--base", base)
    made = new_id(run(*line))
    api.world.work()
    return line, made


def test_a_conflict_that_is_resolved_is_not_submitted_again(api: Api, run: Run, tmp_path: Path) -> None:
    line, made = collided(api, run, tmp_path)
    resolved = new_id(run("resolve", made, "--all-ours"))
    api.world.work()
    assert f"{made} conflicted, closed by {resolved}" in run(*line, "--wait", code=3).stdout
    again = new_id(run(*line, "--key", "another"))
    assert again != made


def test_an_empty_key_is_a_wrong_line(run: Run, tmp_path: Path) -> None:
    assert "--key" in run("submit", "all", tmp_path, "-m", "m", "--key", "", code=2).stderr


def test_the_id_is_told_as_soon_as_it_is_accepted(
    api: Api, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "f").write_text("1")
    monkeypatch.setattr(Client, "changeset", stop)
    line = ["submit", "all", str(tmp_path), "-m", "m", "--base", api.tip, "--wait", "--json"]
    answer = CliRunner().invoke(cli.cli, line)
    assert answer.exit_code != 0 and answer.stdout == ""
    monkeypatch.undo()
    [made] = commits(api)
    assert f"submitted {made}" in answer.stderr and f"sluice status {made} --wait" in answer.stderr


def test_after_a_stop_before_the_answer_a_repeat_finds_the_changeset(
    api: Api, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("1")
    line = ["submit", "all", str(tmp_path), "-m", "m", "--base", api.tip]
    real = Client.submit
    with monkeypatch.context() as patch:

        def stop_behind(client: Client, *arguments: object) -> None:
            real(client, *arguments)  # type: ignore[arg-type]
            raise KeyboardInterrupt

        patch.setattr(Client, "submit", stop_behind)
        answer = CliRunner().invoke(cli.cli, line)
    assert "may have been accepted" in answer.stderr and "idempotency key (submit-" in answer.stderr
    found = new_id(run(*line))
    assert commits(api) == [found]


@pytest.mark.parametrize("timeout", ["0", "0.0000001", "0.3", "1.1234567"])
def test_a_wait_is_as_long_as_the_user_says(api: Api, run: Run, tmp_path: Path, timeout: str) -> None:
    (tmp_path / "f").write_text("1")
    line = ("submit", "all", tmp_path, "-m", "m", "--base", api.tip, "--wait", "--timeout", timeout)
    made = new_id(run(*line, code=5))
    again = CliRunner().invoke(cli.cli, ["status", made, "--wait", "--timeout", timeout])
    assert again.stdout.startswith(f"{made} queued")


def test_what_became_of_it_is_the_exit_code(api: Api, run: Run, tmp_path: Path) -> None:
    line, made = collided(api, run, tmp_path)
    assert " conflicted" in run(*line, "--wait", code=3).stdout
    assert json.loads(run(*line, "--wait", "--json", code=3).stdout)["id"] == made


@pytest.mark.parametrize("timeout", ["-1", "many"])
def test_a_timeout_that_is_no_time_is_a_wrong_line(run: Run, tmp_path: Path, timeout: str) -> None:
    run("submit", "all", tmp_path, "-m", "m", "--wait", "--timeout", timeout, code=2)


def test_a_first_import_that_is_too_large_is_split_into_a_stack(
    api: Api, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    run("checkout", "all", work)
    for number in range(12):
        (work / f"f{number:02}").write_text(f"{number}\n")
    limit(monkeypatch, api, max_changes=5)
    assert run("check", "all", work).stdout == "would commit\n"
    answer = run("submit", "all", work, "-m", "Import\n\nAll of it")
    ids = [line.split()[0] for line in answer.stdout.splitlines()]
    assert len(ids) == 3 and all(f"submitted {each}, changes: " in answer.stderr for each in ids)
    assert "too large for one changeset: 3 of them" in answer.stderr
    assert commits(api) == ids and len(files(api)) == 12
    messages = [commit["message"].splitlines()[0] for commit in api.get("/slices/all/commits")["items"]]
    assert messages == ["Import (part 1)", "Import (part 2)", "Import (part 3)"]
    assert "nothing differs" in run("submit", "all", work, "-m", "Import").stderr


def test_a_change_of_what_is_there_is_split_only_where_that_is_asked_for(
    api: Api, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(api, **{f"f{number}": "old" for number in range(4)}, d="a file")
    work = tmp_path / "work"
    run("checkout", "all", work)
    (work / "d").unlink()
    (work / "d").mkdir()
    for number in range(4):
        (work / f"f{number}").write_text("new")
        (work / "d" / f"{number}").write_text("new")
    limit(monkeypatch, api, max_changes=3)
    refused = run("submit", "all", work, "-m", "m", "--delete", code=2)
    assert "9 changes are too many" in refused.stderr and "--split" in refused.stderr
    assert len(commits(api)) == 1
    run("submit", "all", work, "-m", "m", "--delete", "--split")
    assert files(api) == {f"{where}{number}": b"new" for number in range(4) for where in ("f", "d/")}


def limit(monkeypatch: pytest.MonkeyPatch, api: Api, **limits: int) -> None:
    """Have the API take less."""
    repo = api.http.application.extensions["sluice"].repo
    monkeypatch.setattr(repo, "settings", replace(repo.settings, **limits))


def test_a_folder_without_files_of_its_slice_gets_a_hint_at_the_base(api: Api, run: Run, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("1")
    assert f"--base {api.tip} " in run("submit", "all", tmp_path, "-m", "m", code=2).stderr
