"""`sluice checkout`: a slice's files in a folder, and nothing of its user's lost."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from click.testing import CliRunner

from app import cli
from app.client.api_client import Client
from app.console.output import Notes
from app.folder import slice_checkout
from app.folder.folder_base import FILE
from tests.support.api import Api, Json
from tests.support.collisions import LINES, Run, delete, edit, files, new_id, put, runner


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with runner(api, monkeypatch) as run:
        yield run


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


def land(api: Api, *changes: Json) -> None:
    api.submit(base=api.tip, changes=list(changes))
    api.world.work()


def there(folder: Path) -> dict[str, str]:
    """The files of a folder, and where its links point."""
    found = {}
    for place in sorted(folder.rglob("*")):
        if place.is_symlink():
            found[place.relative_to(folder).as_posix()] = f"-> {place.readlink()}"
        elif place.is_file() and place.name != FILE:
            found[place.relative_to(folder).as_posix()] = place.read_text()
    return found


def test_it_writes_what_the_slice_has_with_modes_links_and_submodules(api: Api, run: Run, work: Path) -> None:
    api.post("/slices", {"name": "web", "paths": ["web/"]}, 201)
    land(
        api, put("web/é ö", "1\n"), put("web/run", "#!/bin/sh\n", mode="100755"), put("outside", "2"),
        put("web/deep/down/x", ""), put("web/link", "deep/down", mode="120000"),
        {"op": "put", "path": "web/module", "mode": "160000", "id": "1" * 40},
    )  # fmt: skip
    answer = run("checkout", "web", work)
    assert f"{work} is at {api.tip}, files written: 5" in answer.stdout
    assert there(work) == {
        "web/é ö": "1\n", "web/run": "#!/bin/sh\n", "web/deep/down/x": "", "web/link": "-> deep/down",
    }  # fmt: skip
    assert os.access(work / "web" / "run", os.X_OK) and not os.access(work / "web" / "é ö", os.X_OK)
    assert (work / "web" / "module").is_dir()
    assert "nothing differs" in run("submit", "web", work, "-m", "m", "--delete").stderr
    assert [path.name for path in work.iterdir() if path.name.startswith(".sluice")] == [FILE]


def test_an_older_commit_can_be_checked_out(api: Api, run: Run, work: Path) -> None:
    land(api, put("f", "1"))
    first = api.tip
    land(api, put("f", "2"))
    assert json.loads(run("checkout", "all", work, "--commit", first, "--json").stdout)["commit"] == first
    assert there(work) == {"f": "1"}
    run("checkout", "all", work)
    assert there(work) == {"f": "2"}


@pytest.mark.parametrize("commit", ["main", "abc", "0" * 40, "f" * 40])
def test_what_is_no_commit_makes_no_folder(run: Run, work: Path, commit: str) -> None:
    answer = CliRunner().invoke(cli.cli, ["checkout", "all", str(work), "--commit", commit])
    assert answer.exit_code != 0 and not work.exists()


def test_a_folder_that_is_somebodys_is_refused(api: Api, run: Run, work: Path) -> None:
    land(api, put("f", "1"))
    work.mkdir()
    (work / "f").write_text("mine")
    assert "is not empty" in run("checkout", "all", work, code=2).stderr
    assert there(work) == {"f": "mine"} and not (work / FILE).exists()
    run("checkout", "all", work / "f", code=2)
    run("checkout", "all", work, "--force")
    assert there(work) == {"f": "1"}


def test_again_it_brings_what_others_landed(api: Api, run: Run, work: Path) -> None:
    land(api, put("same", "1"), put("changed", "1"), put("gone/deep", "1"), put("tool", "1"))
    run("checkout", "all", work)
    land(
        api, put("changed", "2"), delete("gone/deep"), put("new/x", "2"),
        {"op": "mode", "path": "tool", "mode": "100755"},
    )  # fmt: skip
    (work / "own").write_text("not submitted yet")
    (work / "same").write_text("not submitted yet")
    run("checkout", "all", work)
    expected = {"same": "not submitted yet", "changed": "2", "new/x": "2", "tool": "1", "own": "not submitted yet"}
    assert there(work) == expected and not (work / "gone").exists() and os.access(work / "tool", os.X_OK)
    run("submit", "all", work, "-m", "m", "--delete")
    assert files(api) == {path: content.encode() for path, content in expected.items()}


@pytest.mark.parametrize("change", ["edit", "delete", "replace by a folder", "replace by a link"])
def test_a_file_that_both_changed_is_named_and_nothing_is_written(api: Api, run: Run, work: Path, change: str) -> None:
    land(api, put("f", "1"), put("other", "1"))
    run("checkout", "all", work)
    land(api, put("f", "2"), put("other", "2"))
    (work / "f").unlink()
    if change == "edit":
        (work / "f").write_text("mine")
    elif change == "replace by a folder":
        (work / "f").mkdir()
        (work / "f" / "x").write_text("mine")
    elif change == "replace by a link":
        (work / "f").symlink_to("other")
    before = there(work)
    answer = run("checkout", "all", work, code=2)
    assert "\n  f" in answer.stderr and "other" not in answer.stderr
    assert there(work) == before
    run("submit", "all", work, "-m", "m", "--dry-run")
    if change != "replace by a folder":
        run("checkout", "all", work, "--force")
        assert there(work) == {"f": "2", "other": "2"}


def test_a_file_that_others_deleted_is_not_lost_where_it_was_changed(api: Api, run: Run, work: Path) -> None:
    land(api, put("f", "1"), put("g", "1"))
    run("checkout", "all", work)
    land(api, delete("f"))
    (work / "f").write_text("mine")
    run("checkout", "all", work, code=2)
    assert there(work) == {"f": "mine", "g": "1"}
    run("checkout", "all", work, "--force")
    assert there(work) == {"g": "1"}


def test_what_is_in_the_way_of_a_new_file_is_named(api: Api, run: Run, work: Path, tmp_path: Path) -> None:
    run("checkout", "all", work)
    land(api, put("f", "1"), put("d/x", "1"), put("link/x", "1"), put("same", "1"))
    (work / "f").mkdir()
    (work / "f" / "own").write_text("mine")
    (work / "d").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (work / "link").symlink_to(tmp_path / "elsewhere")
    (work / "same").write_text("1")
    for more in ((), ("--force",)):
        answer = run("checkout", "all", work, *more, code=2)
        assert {"  f/", "  d", "  link"} <= set(answer.stderr.splitlines()) and "  same" not in answer.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_may_become_a_folder_and_the_other_way_round(api: Api, run: Run, work: Path) -> None:
    land(api, put("a", "file"), put("b/x/y", "1"), put("l", "b", mode="120000"))
    run("checkout", "all", work)
    land(api, delete("a"), put("a/x", "2"), delete("b/x/y"), put("b", "file"), delete("l"), put("l/z", "3"))
    run("checkout", "all", work)
    assert there(work) == {"a/x": "2", "b": "file", "l/z": "3"}


def test_a_link_is_replaced_and_never_written_through(api: Api, run: Run, work: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("keep")
    land(api, put("l", str(target), mode="120000"))
    run("checkout", "all", work)
    land(api, put("l", "a file now"))
    run("checkout", "all", work)
    assert there(work) == {"l": "a file now"} and target.read_text() == "keep"


def test_what_was_submitted_from_the_folder_is_waited_for(api: Api, run: Run, work: Path) -> None:
    land(api, put("f", LINES))
    run("checkout", "all", work)
    land(api, put("f", edit(5, "colleague")))
    (work / "f").write_text(edit(15, "mine"))
    made = new_id(run("submit", "all", work, "-m", "m"))
    assert f"sluice status {made} --wait" in run("checkout", "all", work, code=2).stderr
    api.world.work()
    run("checkout", "all", work)
    assert there(work) == {"f": edit(15, "mine", edit(5, "colleague"))}


def test_a_whole_slice_comes_as_an_archive_and_what_that_lacks_by_paths(
    api: Api, run: Run, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {f"d{number % 7}/f{number}": f"{number}" for number in range(120)}
    land(api, *[put(path, text) for path, text in expected.items()], put("link", "d1/f1", mode="120000"))
    real, asked = Client.files, []
    archive = Client.archive

    def files(client: Client, slice_name: str, paths: list[str], commit: str) -> Iterator[tuple[str, bytes]]:
        asked.extend(paths)
        yield from real(client, slice_name, paths, commit)

    monkeypatch.setattr(Client, "files", files)
    run("checkout", "all", work)
    assert there(work) == expected | {"link": "-> d1/f1"} and not asked
    monkeypatch.setattr(Client, "archive", lambda *given: islice(archive(*given), 50))
    run("checkout", "all", work.with_name("again"))
    assert there(work.with_name("again")) == there(work) and len(asked) == 71


@pytest.mark.parametrize("few", [100, 0], ids=["files", "archive"])
def test_a_link_points_where_it_did_in_any_encoding(
    api: Api, run: Run, work: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(slice_checkout, "_FEW", few)
    targets = {"short": b"\xff/x", "long": b"\xfe" * 120, "utf8": "ü".encode()}
    for name, target in targets.items():
        link = {"op": "put", "path": name, "content_base64": b64encode(target).decode(), "mode": "120000"}
        land(api, link)
    run("checkout", "all", work)
    assert {name: os.fsencode((work / name).readlink()) for name in targets} == targets


@pytest.mark.parametrize("source", ["files", "archive"])
def test_one_that_was_cut_short_is_known_and_completed(
    api: Api, run: Run, work: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr(slice_checkout, "_FEW", 100 if source == "files" else 0)
    land(api, *[put(f"f{number}", "1") for number in range(20)])
    real = getattr(Client, source)

    def stop(*given: object) -> Iterator[tuple[str, bytes]]:
        yield from islice(real(*given), 12)
        raise KeyboardInterrupt

    def cut_short() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Client, source, stop)
            assert CliRunner().invoke(cli.cli, ["checkout", "all", str(work)]).exit_code != 0
        assert "was cut short" in run("submit", "all", work, "-m", "m", "--delete", code=2).stderr
        assert 0 < len(there(work)) <= 20

    cut_short()
    land(api, put("f0", "2"), put("f19", "2"))
    run("checkout", "all", work)
    expected = {f"f{number}": "1" for number in range(20)} | {"f0": "2", "f19": "2"}
    assert there(work) == expected
    land(api, *[put(f"f{number}", "3") for number in range(20)])
    (work / "f5").write_text("mine")
    run("checkout", "all", work, code=2)
    (work / "f5").write_text("1")
    cut_short()
    run("checkout", "all", work)
    assert there(work) == {f"f{number}": "3" for number in range(20)}


def test_a_name_that_is_sluices_own_is_not_written(api: Api, run: Run, work: Path) -> None:
    land(api, put(FILE, "{}"), put("sub/.sluice-x", "1"), put("f", "1"))
    assert FILE in run("checkout", "all", work).stderr
    assert there(work) == {"f": "1"}
    assert "nothing differs" in run("submit", "all", work, "-m", "m", "--delete").stderr


def test_a_folder_is_of_one_slice(api: Api, run: Run, work: Path) -> None:
    api.post("/slices", {"name": "web", "paths": ["web/"]}, 201)
    run("checkout", "all", work)
    assert "another slice than web" in run("checkout", "web", work, code=2).stderr


def test_an_unwritable_folder_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    answer = run("checkout", "all", tmp_path / "work", code=2)
    assert f"{tmp_path / 'work'}: Permission denied" in answer.stderr


@pytest.mark.parametrize(("on_terminal", "more"), [(False, ()), (False, ("--json",)), (True, ("--json",))])
def test_bars_are_shown_on_a_terminal_alone_and_never_with_json(
    api: Api, run: Run, work: Path, monkeypatch: pytest.MonkeyPatch, on_terminal: bool, more: tuple[str, ...]
) -> None:
    api.submit(base=api.tip, changes=[put("f", "1\n")])
    api.world.work()
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(Notes, "on_terminal", on_terminal)
    said = run("checkout", "all", work, *more).stderr
    assert said == ("" if more else f"{work / FILE} remembers it\n")


def test_failed_checkouts_and_submissions_are_the_same_problem_in_json(run: Run, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("1")
    for line in (("checkout", "all", tmp_path), ("submit", "all", tmp_path, "-m", "m")):
        problem = json.loads(run(*line, "--json", code=2).stderr)
        assert (problem["type"], problem["title"]) == ("urn:sluice:problem:usage", "What was given cannot be used")
