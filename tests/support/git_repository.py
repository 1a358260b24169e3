"""Git repositories made by Git itself, with fixed names, dates and settings."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import pytest

WHO = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "1700000000 +0530",
    "GIT_COMMITTER_NAME": "Grace",
    "GIT_COMMITTER_EMAIL": "grace@example.org",
    "GIT_COMMITTER_DATE": "1700000001 +0000",
}


def environments(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have each of Git's processes write its words and its environment into a file that is returned, and go on."""
    found = shutil.which("git")
    wrapper, seen = folder / "recording-git", folder / "environments"
    wrapper.write_text(f'#!/bin/sh\n{{ printf "word %s\\n" "$@"; env; }} >> {seen}\nexec {found} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr("storage.git.run_git.program", lambda: str(wrapper))
    return seen


class GitRepository:
    """A Git repository in a folder, untouched by the settings of whoever runs the tests."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    @classmethod
    def begun(cls, path: Path) -> GitRepository:
        """One with a first commit, which has a README: a copy of one that Git has made in this process."""
        path.mkdir()
        with zipfile.ZipFile(io.BytesIO(_begun())) as packed:
            packed.extractall(path)
        made = cls.__new__(cls)
        made.path = path
        return made

    def git(self, *arguments: str, stdin: bytes = b"", environ: dict[str, str] | None = None) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        fixed = {"HOME": str(self.path), "GIT_CONFIG_NOSYSTEM": "1", **WHO, **(environ or {})}
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, input=stdin, env=kept | fixed, check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    def write(self, path: str, content: bytes | str = b"content\n") -> Path:
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    def commit(self, message: str = "Change", **environ: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message, environ=environ)
        return self.git("rev-parse", "HEAD")

    def raw_commit(
        self, message: bytes, author: bytes = b"Ada <ada@example.org> 1700000000 +0000", headers: bytes = b""
    ) -> str:
        """Commit the index by the bytes of the commit object itself, as odd as they may be."""
        tree, parent = self.git("write-tree"), self.git("rev-parse", "HEAD")
        data = b"tree %s\nparent %s\nauthor %s\ncommitter C <c@example.org> 1700000000 +0000\n%s\n%s" % (
            tree.encode(), parent.encode(), author, headers, message,
        )  # fmt: skip
        commit = self.git("hash-object", "-t", "commit", "--literally", "-w", "--stdin", stdin=data)
        self.git("update-ref", "HEAD", commit)
        return commit


@cache
def _begun() -> bytes:
    """Make the repository of `GitRepository.begun`, which is always the same, and return it as a ZIP file."""
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        made = GitRepository(Path(folder) / "repo")
        made.write("README", "first\n")
        made.commit("Begin")
        with zipfile.ZipFile(packed, "w") as files:
            for path in made.path.rglob("*"):
                files.write(path, path.relative_to(made.path))  # folders that are empty too: Git wants some of them
    return packed.getvalue()
