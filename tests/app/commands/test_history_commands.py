"""`sluice log PATH`, `show`, `blame`, `tag` and `revert` against the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.base.settings import Settings
from storage.importing import import_history
from storage.operations.slices import define
from storage.operations.versions import blame as blame_module
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.api import Api
from tests.support.collisions import Run, runner
from tests.support.command_line import objects
from tests.support.git_repository import GitRepository
from tests.support.world import Files, World, item


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with runner(api, monkeypatch) as run:
        yield run


def land(api: Api, files: Files, message: str) -> tuple[str, str]:
    """Land a changeset on the tip, and return its id and its commit."""
    [changeset] = api.world.submit(item(api.world.all, files, api.world.tip, message=message))
    api.world.work()
    return changeset, str(api.get(f"/changesets/{changeset}")["commit"])


def test_log_lists_the_commits_of_a_file_and_of_a_directory(api: Api, run: Run) -> None:
    first, one = land(api, {"d/f": b"1\n"}, "Begin")
    second, two = land(api, {"d/f": None, "d/g": b"1\n"}, "Move")
    lines = run("log", "d/f").stdout.splitlines()
    assert [line.split(" ")[0] for line in lines] == [two[:12], one[:12]]
    assert f"deleted  {second} " in lines[0] and lines[1].endswith(" Ada: Begin") and first in lines[1]
    assert [row["commit"] for row in objects(run("log", "d/", "--json").stdout)] == [two, one]
    assert [row["commit"] for row in objects(run("log", "/", "-n", "1", "--json").stdout)] == [two]
    assert [row["commit"] for row in objects(run("log", "d/", "--commit", one, "--json").stdout)] == [one]
    assert len(objects(run("log", "d/", "--slice", "all", "--json").stdout)) == 2
    assert len(run("log").stdout.splitlines()) == 3, "without a path it is of global commits"
    assert "PATH" in run("log", "--commit", one, code=2).stderr
    assert "PATH" in run("log", "d/f", "-v", code=2).stderr


def test_show_is_a_commit_with_its_diff(api: Api, run: Run) -> None:
    land(api, {"f": b"1\n"}, "Begin")
    changeset, commit = land(api, {"f": b"2\n", "g": b"x\n"}, "Change\n\nAt length.")
    shown = run("show", changeset).stdout
    assert shown == run("show", commit).stdout
    head, _, diff = shown.partition("\n\ndiff --git a/f b/f\n")
    assert head.splitlines()[:3] == [
        f"commit {commit}", f"Changeset: {changeset} (landed)", "Author: Ada <ada@example.org>"]  # fmt: skip
    assert "    Change\n\n    At length.\n" in head and "@@ -1 +1 @@\n-1\n+2\n" in diff and "+++ b/g" in diff
    described, *files = objects(run("show", commit, "--json").stdout)
    assert described["commit"] == commit and [file["path"] for file in files] == ["f", "g"]
    main = api.get("/head")["main"]["commit"]
    assert f"commit {main}\nMerge: " in run("show", main).stdout
    [queued] = api.world.submit(item(api.world.all, {"f": b"3\n"}, api.world.tip))
    assert "sluice diff" in run("show", queued, code=2).stderr
    assert "no commit" in run("show", "1" * 40, code=7).stderr


def test_blame_shows_each_line_with_its_commit(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _, one = land(api, {"f": b"1\n\xff\n"}, "Begin")
    _, two = land(api, {"f": b"1\n\xff\n3"}, "More")
    lines = run("blame", "f").stdout_bytes.splitlines()
    assert [(line[:12].decode(), line.rpartition(b") ")[2]) for line in lines] == [
        (one[:12], b"1"), (one[:12], b"\xff"), (two[:12], b"3")]  # fmt: skip
    assert b"(Ada " in lines[0]
    spans = objects(run("blame", "f", "--json").stdout)
    assert [(span["start"], span["lines"], span["commit"]) for span in spans] == [(1, 2, one), (3, 1, two)]
    assert [span["commit"] for span in objects(run("blame", "f", "--commit", one, "--json").stdout)] == [one]
    monkeypatch.setattr(blame_module, "MOST_VERSIONS", 1)
    limited = run("blame", "f")
    assert limited.stdout_bytes.startswith(b"^" + one[:11].encode())
    assert f"--commit {one}" in limited.stderr and "blame_versions" in limited.stderr


def test_commands_go_back_through_an_imported_history(
    settings: Settings, unsent: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = GitRepository(tmp_path / "source")
    source.write("f", "1\n")
    first = source.commit("Begin")
    source.write("f", "1\n2\n")
    second = source.commit("Go on")
    repo = Repository(settings)
    import_history(repo, source.path)
    run_upkeep(repo)
    api = Api(settings, World(repo, define(repo, "all", ["/"])))
    _, third = land(api, {"f": b"1\n2\n3\n"}, "Land")
    with runner(api, monkeypatch) as run:
        lines = run("log", "f").stdout.splitlines()
        assert [line[:12] for line in lines] == [third[:12], second[:12], first[:12]]
        assert "modified imported " in lines[1] and lines[1].endswith(" Ada: Go on")
        assert [row["commit"] for row in objects(run("log", "f", "--commit", second, "--json").stdout)] == [
            second, first]  # fmt: skip
        lines = run("blame", "f").stdout.splitlines()
        assert [line[:12] for line in lines] == [first[:12], second[:12], third[:12]] and " (Ada 2023-11-15" in lines[0]
        shown = run("show", second).stdout
        assert "Author: Ada <ada@example.org>" in shown and "    Go on\n" in shown and "\n+2\n" in shown
        monkeypatch.setattr(blame_module, "MOST_VERSIONS", 1)
        limited = run("blame", "f")
        assert f"--commit {second}" in limited.stderr and limited.stdout.startswith(f"^{second[:11]} (")


def test_tags_are_made_listed_moved_and_deleted(api: Api, run: Run) -> None:
    _, one = land(api, {"f": b"1\n"}, "Begin")
    main = api.get("/head")["main"]["commit"]
    assert run("tag", "create", "v1", "-m", "The first\n\nof all").stdout == f"{main[:12]} v1  The first\n"
    run("tag", "create", "light", one)
    assert run("tag", "list").stdout == f"{one[:12]} light\n{main[:12]} v1  The first\n"
    [light, v1] = objects(run("tag", "list", "--json").stdout)
    assert (light["annotated"], v1["annotated"], v1["commit"]) == (False, True, main)
    assert "If-Match" in run("tag", "create", "light", main, code=7).stderr
    run("tag", "create", "light", main, "--force")
    assert objects(run("tag", "delete", "light", "--json").stdout) == [{"name": "light", "deleted": True}]
    assert "no tag 'light'" in run("tag", "delete", "light", code=7).stderr
    assert "no tag name" in run("tag", "create", "a..b", code=7).stderr


def test_revert_makes_a_changeset_and_its_code_is_what_became_of_it(api: Api, run: Run) -> None:
    changeset, _ = land(api, {"f": b"1\n"}, "Begin")
    [made] = objects(run("revert", changeset, "--json").stdout)
    api.world.work()
    assert api.get(f"/changesets/{made['id']}")["status"] == "landed"
    assert api.http.get("/v1/slices/all/files/f").status_code == 404
    [queued] = api.world.submit(item(api.world.all, {"g": b"3\n"}, api.world.tip))
    assert "committed" in run("revert", queued, code=7).stderr
