"""What `sluice submit DIR` leaves alone: what Git ignores, and what is Git's or Sluice's own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.stack import state
from app.stack.environment import save_environment
from storage.base.settings import Settings
from tests.support.api import Api
from tests.support.collisions import Run, files, put, runner


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "settings"))
    with runner(api, monkeypatch) as run:
        yield run


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def write(folder: Path, **contents: str) -> None:
    for name, content in contents.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)


def git(folder: Path, *arguments: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, env=kept)


def submit(run: Run, api: Api, work: Path, *more: str) -> str:
    return run("submit", "all", work, "-m", "m", "--base", api.tip, *more).stderr


RULES = {
    ".gitignore": "*.pyc\nnode_modules/\n/.env\n!keep.pyc\n",
    "sub/.gitignore": "local\n!node_modules/\n",
}
IGNORED = {".env": "secret", "a.pyc": "", "sub/b.pyc": "", "sub/local": "", "node_modules/x/index.js": ""}
TAKEN = {"a.py": "", "keep.pyc": "", "sub/.env": "fine", "local": "", ":(top)": "", "*.pyc?": "", "-x": ""}


@pytest.mark.parametrize("in_git", [False, True])
def test_what_gitignore_names_is_not_submitted_and_counted(api: Api, run: Run, work: Path, in_git: bool) -> None:
    write(work, **RULES, **IGNORED, **TAKEN)
    if in_git:
        git(work, "init", "--quiet")
    assert f"files that Git ignores, left out: {len(IGNORED)}" in submit(run, api, work)
    assert files(api).keys() == RULES.keys() | TAKEN.keys()
    submit(run, api, work, "--no-ignore")
    assert files(api).keys() == RULES.keys() | TAKEN.keys() | IGNORED.keys()


def test_the_repositorys_and_the_users_own_rules_count(api: Api, run: Run, work: Path, tmp_path: Path) -> None:
    git(work, "init", "--quiet")
    write(work, **{".git/info/exclude": "mine\n"})
    write(tmp_path, settings=f"[core]\n\texcludesFile = {tmp_path}/everywhere\n", everywhere="*.swp\n")
    write(work, mine="", theirs="", **{"a.swp": "", "sub/mine": ""})
    submit(run, api, work)
    assert files(api).keys() == {"theirs"}


def test_the_users_own_rules_count_outside_of_any_repository(api: Api, run: Run, work: Path, tmp_path: Path) -> None:
    write(tmp_path, settings=f"[core]\n\texcludesFile = {tmp_path}/everywhere\n", everywhere="*.swp\n")
    write(work, f="", **{"a.swp": ""})
    submit(run, api, work)
    assert files(api).keys() == {"f"}


def test_rules_above_the_folder_count_unless_they_ignore_the_folder_itself(api: Api, run: Run, work: Path) -> None:
    git(work, "init", "--quiet")
    write(work, **{".gitignore": "*.log\nbuild/\n", "sub/f": "", "sub/x.log": "", "build/g": "", "build/y.log": ""})
    submit(run, api, work / "sub")
    assert files(api).keys() == {"f"}
    submit(run, api, work / "build")
    assert files(api).keys() == {"f", "g", "y.log"}


def test_what_is_there_already_is_not_ignored(api: Api, run: Run, work: Path) -> None:
    api.submit(base=api.tip, changes=[put(path, "1") for path in ("a.log", "build/deep/b", "gone.log")])
    api.world.work()
    write(work, **{".gitignore": "*.log\nbuild/\n", "a.log": "2", "build/deep/b": "2", "build/new": "", "new.log": ""})
    assert "left out: 2 " in submit(run, api, work, "--delete")
    assert files(api) == {".gitignore": b"*.log\nbuild/\n", "a.log": b"2", "build/deep/b": b"2"}


def test_what_git_tracks_is_not_ignored(api: Api, run: Run, work: Path) -> None:
    git(work, "init", "--quiet")
    write(work, **{".gitignore": "*.log\n", "kept.log": "", "other.log": ""})
    git(work, "add", "--force", ".gitignore", "kept.log")
    submit(run, api, work)
    assert files(api).keys() == {".gitignore", "kept.log"}


def test_a_hooks_environment_names_no_other_rules(
    api: Api, run: Run, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    git(tmp_path / "other", "init", "--quiet")
    write(tmp_path, **{"other/.git/info/exclude": "*\n"})
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(work))
    write(work, f="")
    submit(run, api, work)
    assert files(api).keys() == {"f"}


STACKS = [".sluice", "data", "deep/down/somewhere"]


@pytest.mark.parametrize("more", [(), ("--no-ignore",)])
def test_a_stacks_data_folder_is_never_submitted_whatever_it_is_called(
    api: Api, run: Run, work: Path, more: tuple[str, ...]
) -> None:
    for number, name in enumerate(STACKS):
        folder = work / name
        folder.mkdir(parents=True)
        if number != 1:
            state.save(folder, state.load(folder, "minio"))
        if number != 2:
            save_environment(folder, Settings(s3_secret_key="the bucket's"))
        write(folder, **{"logs/api.log": "1"})
    write(work, f="", **{"data2/environment": "PATH=/bin\n", ".sluice-resolve.json": "{}", "sub/.sluicerc": "x"})
    told = submit(run, api, work, *more)
    assert files(api).keys() == {"f", "data2/environment"}
    assert "left out: data" in told and "left out: deep/down/somewhere" in told
    for name in STACKS:
        answer = run("submit", "all", work / name, "-m", "m", "--base", api.tip, *more, code=2)
        assert "is the data folder of a stack" in answer.stderr
    run("submit", "all", work / "data" / "logs", "-m", "m", "--base", api.tip, *more, code=2)


def test_what_is_never_submitted_is_not_deleted_either(api: Api, run: Run, work: Path) -> None:
    api.submit(base=api.tip, changes=[put(path, "1") for path in (".sluice/x", "data/y", "sub/.sluice-z", "f", "g")])
    api.world.work()
    (work / "data").mkdir()
    state.save(work / "data", state.load(work / "data", "minio"))
    write(work, f="1")
    submit(run, api, work, "--delete")
    assert files(api).keys() == {".sluice/x", "data/y", "sub/.sluice-z", "f"}


def test_a_repository_within_the_folder_keeps_its_git_folder(api: Api, run: Run, work: Path) -> None:
    (work / "sub").mkdir()
    git(work / "sub", "init", "--quiet")
    write(work, **{"sub/f": "1", "link/.git": "gitdir: elsewhere\n", "link/g": "2"})
    submit(run, api, work)
    assert files(api).keys() == {"sub/f", "link/g"}
