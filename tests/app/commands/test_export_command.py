"""`sluice export` writes everything as a bare repository, and says what it has written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.base import settings as settings_module
from storage.base.settings import Settings
from storage.repository import Repository
from tests.support.command_line import sluice
from tests.support.git_repository import GitRepository
from tests.support.world import World


@pytest.fixture
def world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> World:
    """A repository of one file; commands find it by the environment."""
    for name, value in settings_module.environment(settings).items():
        monkeypatch.setenv(name, value)
    made = World(Repository(settings))
    made.put({"web/a": b"1\n"})
    made.work()
    return made


@pytest.mark.parametrize("as_json", [False, True])
def test_it_prints_both_branches_and_a_clone_has_the_files(world: World, tmp_path: Path, as_json: bool) -> None:
    folder = tmp_path / "export.git"
    answer = sluice("export", folder, *(["--json"] if as_json else []), expect_error=False)
    head = world.repo.view.head()
    if as_json:
        expected = {"directory": str(folder), "main": head.main, "next": head.tip, "entries": head.applied}
        assert json.loads(answer.stdout) == expected
    else:
        assert answer.stdout == f"{folder}: main is {head.main}, next is {head.tip}\n"
    clone = GitRepository(tmp_path / "clone")
    clone.git("pull", "--quiet", str(folder), "main")
    assert (clone.path / "web" / "a").read_text() == "1\n"
    assert clone.git("rev-parse", "HEAD") == head.main
    clone.git("fsck", "--strict")


def test_a_folder_that_has_files_is_refused_and_stays_as_it_is(world: World, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    answer = sluice("export", tmp_path, expect_error=True)
    assert answer.exit_code == 2 and "empty" in answer.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]
