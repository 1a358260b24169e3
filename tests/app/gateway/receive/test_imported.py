"""Pushes from old commits of an imported history: each is based on the commit of the chain that it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.base.ids import ChangesetId
from storage.base.settings import Settings
from storage.importing import import_history
from storage.operations.slices import define
from storage.queue import read_changesets
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.git_repository import GitRepository
from tests.support.pushing import WHOLE, Pushing
from tests.support.world import World

LINES = [f"line {number}\n" for number in range(30)]


@pytest.fixture
def source(tmp_path: Path) -> GitRepository:
    repo = GitRepository(tmp_path / "source")
    lines = list(LINES)
    for number in range(8):
        lines[number] = f"changed {number}\n"
        repo.write("docs/a.txt", "".join(lines))
        repo.commit(f"Docs {number}")
        repo.write("src/main.c", f"int main{number};\n")
        repo.commit(f"Src {number}")
    return repo


@pytest.fixture
def world(settings: Settings, source: GitRepository) -> World:
    repo = Repository(settings)
    import_history(repo, source.path)
    run_upkeep(repo)
    define(repo, "docs", ["docs/"])
    return World(repo, define(repo, "all", ["/"]))


@pytest.mark.parametrize("name", ["docs", WHOLE])
def test_a_push_from_an_old_imported_commit_is_merged_with_what_came_later(
    pushed: Pushing, source: GitRepository, name: str
) -> None:
    clone = pushed.clone(name)
    clone.git("checkout", "-q", "HEAD~4")
    old = clone.git("log", "-1", "--format=%s")
    base = source.git("log", "--format=%H", f"--grep=^{old}$")
    text = (clone.path / "docs/a.txt").read_text().replace("line 25", "mine 25")
    clone.commit({"docs/a.txt": text.encode()}, "Mine")
    done = clone.push()
    assert done.ok, done.said
    [changeset] = done.changesets
    outcome = pushed.world.repo.outcome(ChangesetId(changeset))
    assert outcome is not None and outcome.status == "committed"
    repo = pushed.world.repo
    [read] = read_changesets(repo.archive, repo.queue, [(ChangesetId(changeset), outcome.pack)])
    assert read.base_commit is not None and read.base_commit.hex() == base
    landed = pushed.world.files()["docs/a.txt"].decode()
    assert "mine 25" in landed and "changed 7" in landed
    clone.git("fetch", "-q")
    assert clone.git("log", "-1", "--format=%s", "origin/main") == "Mine"


def test_a_branch_from_old_commits_that_was_merged_is_one_changeset(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    clone.git("checkout", "-q", "-b", "side", "HEAD~5")
    clone.commit({"docs/b": b"1\n"}, "One")
    clone.commit({"docs/b": b"2\n"}, "Two")
    clone.git("checkout", "-q", "main")
    clone.git("merge", "-q", "--no-ff", "-m", "Merge", "side")
    done = clone.push()
    assert done.ok and len(done.changesets) == 1, done.said
    assert pushed.world.files()["docs/b"] == b"2\n"
