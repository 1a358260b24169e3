"""Git is run in one way: with an environment that leads nowhere else, and in bytes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from storage.git.run_git import (
    Git,
    GitFailed,
    isolated_environment,
    plain_environment,
    says_disk_full,
    user_environment,
)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    Git(environment=plain_environment()).run("init", "--quiet", str(tmp_path / "repo"))
    return tmp_path / "repo"


def test_every_variable_by_which_git_finds_another_repository_is_dropped(repo: Path) -> None:
    local = Git(repo).output("rev-parse", "--local-env-vars").decode().split()
    assert "GIT_DIR" in local and "GIT_CONFIG_PARAMETERS" in local
    given = dict.fromkeys(local, "x") | {"GIT_TRACE": "1", "GIT_NAMESPACE": "x", "HOME": "/home/ada", "PATH": "/bin"}
    kept = user_environment(given)
    assert {name for name in kept if name.startswith("GIT_")} == {
        "GIT_NO_REPLACE_OBJECTS", "GIT_OPTIONAL_LOCKS", "GIT_TERMINAL_PROMPT",
    }  # fmt: skip
    assert kept["HOME"] == "/home/ada" and kept["GIT_NO_REPLACE_OBJECTS"] == "1" and kept["LC_ALL"] == "C"


def test_a_users_git_settings_apply_in_their_repository_and_not_in_ours(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings").write_text("[user]\n\tname = Ada\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "settings"))
    assert Git(repo).output("config", "user.name") == b"Ada\n"
    for environment in (plain_environment(), isolated_environment(repo / ".git")):
        assert Git(repo, environment).run("config", "user.name", accept=(1,)).stdout == b""


def test_in_a_repository_of_ours_git_has_none_of_this_processs_secrets(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_S3_SECRET_KEY", "hidden")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden too")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    for environment in (plain_environment(), isolated_environment(repo / ".git")):
        seen = Git(repo, environment).output("-c", "alias.told=!env", "told").decode()
        assert "GIT_NO_REPLACE_OBJECTS=1" in seen and "LC_ALL=C" in seen
        assert "hidden" not in seen and "/elsewhere" not in seen
    assert plain_environment()["PATH"] == os.environ["PATH"]


def test_what_variables_are_asked_for_are_kept() -> None:
    given = {"GIT_AUTHOR_NAME": "Ada", "GIT_COMMITTER_NAME": "Bob"}
    assert user_environment(given, keep={"GIT_AUTHOR_NAME"}).items() >= {("GIT_AUTHOR_NAME", "Ada")}
    assert "GIT_COMMITTER_NAME" not in user_environment(given, keep={"GIT_AUTHOR_NAME"})


def test_what_git_refuses_is_told_in_its_words(repo: Path) -> None:
    with pytest.raises(GitFailed, match="git cat-file failed: fatal: Not a valid object name no-such") as refused:
        Git(repo).output("cat-file", "-t", "no-such")
    assert refused.value.status == 128


def test_where_git_is_missing_that_is_told(monkeypatch: pytest.MonkeyPatch, repo: Path) -> None:
    monkeypatch.setattr("storage.git.run_git.program", lambda: "/nonexistent/git")
    for call in (Git(repo).run, Git(repo).start):
        with pytest.raises(GitFailed, match="git cannot be run: No such file or directory"):
            call("version")


def test_a_file_can_be_what_it_reads_and_its_output_is_bytes(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(b"\xff\0\n")
    with (tmp_path / "content").open("rb") as stream:
        oid = Git(repo).output("hash-object", "-w", "--stdin", stdin=stream).decode().strip()
    process = Git(repo).start("cat-file", "--batch", stdin=subprocess.PIPE)
    answer, _ = process.communicate(f"{oid}\n".encode())
    assert answer == f"{oid} blob 3\n".encode() + b"\xff\0\n\n"
    assert os.environ.get("GIT_OPTIONAL_LOCKS") is None, "this process's own environment stays as it was"


@pytest.mark.parametrize("command", [("pack-objects", "--stdout"), ("cat-file", "--batch")])
def test_a_full_disk_is_known_by_what_git_says(repo: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "content").write_bytes(os.urandom(1 << 20))
    oid = Git(repo).output("hash-object", "-w", str(tmp_path / "content")).decode().strip()
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            ["git", "-C", str(repo), *command],
            input=f"{oid}\n".encode(), stdout=full, stderr=subprocess.PIPE, env=user_environment(), check=False,
        )  # fmt: skip
    assert done.returncode and says_disk_full(done.stderr.decode()), done.stderr
    assert not says_disk_full("fatal: pack has bad object at offset 12: inflate returned -5")
