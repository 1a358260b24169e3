"""Git repositories for the peers and the judges: no configuration of the machine's or the user's reaches them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from benchmarks.workload import Changeset, Workload
from storage.base.settings import Settings, environment

Files = Iterable[tuple[str, bytes]]

# Nothing runs behind a peer's back while it is measured.
_CONFIG = {"gc.auto": "0", "maintenance.auto": "false", "advice.detachedHead": "false", "init.defaultBranch": "main"}
_COMMITTER = b"Bench <bench@example.org> 1700000000 +0000"


def git_version() -> tuple[int, ...]:
    """Return the version of the `git` on PATH."""
    output = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"(\d+)\.(\d+)\.?(\d*)", output)
    if not match:
        raise RuntimeError(f"git --version printed {output!r}")
    return tuple(int(part or 0) for part in match.groups())


def isolated(home: Path) -> dict[str, str]:
    """Return an environment in which Git sees this machine's PATH and nothing else of it."""
    kept = {name: value for name, value in environment(Settings()).items() if not name.startswith("GIT_")}
    pairs = [
        (f"GIT_CONFIG_{part}_{i}", value)
        for i, pair in enumerate(_CONFIG.items())
        for part, value in zip(("KEY", "VALUE"), pair, strict=True)
    ]
    names = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _IDENT.items()}
    more = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(_CONFIG)),
    }
    return {**kept, **more, **names, **dict(pairs)}


_IDENT = {"NAME": "Bench", "EMAIL": "bench@example.org", "DATE": "1700000000 +0000"}


class Repo:
    """A Git repository, and `git` run in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ = isolated(path)

    @classmethod
    def create(cls, path: Path, workload: Workload) -> Repo:
        """Make a bare repository with the workload's files as the one commit of `main`."""
        path.mkdir(parents=True)
        repo = cls(path)
        repo.git("init", "--quiet", "--bare", ".")
        repo.fast_import(stream("refs/heads/main", None, [("Import", workload.tree())]))
        return repo

    def copy(self, path: Path) -> Repo:
        """Return a copy, so that every peer starts from the same bytes."""
        shutil.copytree(self.path, path)
        return Repo(path)

    def git(self, *args: str, data: bytes | None = None, check: bool = True) -> str:
        """Run git and return what it printed. Raises CalledProcessError."""
        done = subprocess.run(
            ["git", *args],
            cwd=self.path,
            env=self.environ,
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"git {' '.join(args)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode()

    def succeeds(self, *args: str) -> bool:
        """Run git, and return whether it succeeded; where it may fail as a matter of course."""
        null = subprocess.DEVNULL
        done = subprocess.run(
            ["git", *args], cwd=self.path, env=self.environ, stdin=null, stdout=null, stderr=null, check=False
        )
        return done.returncode == 0

    def fast_import(self, parts: Iterable[bytes]) -> None:
        """Run `git fast-import` on a stream, which is not held in memory as a whole."""
        with tempfile.TemporaryFile() as errors:
            argv = ["git", "fast-import", "--quiet"]
            running = subprocess.Popen(argv, cwd=self.path, env=self.environ, stdin=subprocess.PIPE, stderr=errors)
            assert running.stdin
            with suppress(BrokenPipeError):  # it has failed, and says why
                running.stdin.writelines(parts)
                running.stdin.close()
            if running.wait():
                errors.seek(0)
                raise RuntimeError(f"git fast-import: {errors.read().decode(errors='replace')}")

    def resolve(self, name: str) -> str:
        """Return the id that a name stands for."""
        return self.git("rev-parse", "--verify", name).strip()

    def expected_tree(self, base: str, changesets: Iterable[Changeset]) -> str:
        """Return the tree of `base` with the changesets' files, made by Git's index from ids that we hash ourselves."""
        index = self.path / "expected.index"
        index.unlink(missing_ok=True)
        judge = Repo(self.path)
        judge.environ = {**self.environ, "GIT_INDEX_FILE": str(index)}
        judge.git("read-tree", base)
        rows = [f"100644 {blob_id(content)}\t{path}\n" for changeset in changesets for path, content in changeset.files]
        judge.git("update-index", "--add", "--index-info", data="".join(rows).encode())
        return judge.git("write-tree", "--missing-ok").strip()


class Judge:
    """Says by `git fast-import` which tree the files and all changesets so far must have become."""

    def __init__(self, path: Path, workload: Workload) -> None:
        self._repo = Repo.create(path, workload)

    @property
    def tree(self) -> str:
        """The tree that is expected now."""
        return self._repo.resolve("main^{tree}")

    def land(self, changesets: Iterable[Changeset]) -> str:
        """Return the tree that is expected once these have landed too."""
        files = [pair for changeset in changesets for pair in changeset.files]
        self._repo.fast_import(stream("refs/heads/main", "refs/heads/main^0", [("Expected", files)]))
        return self.tree


def blob_id(content: bytes) -> str:
    """Return the id that Git gives to a content."""
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()


def stream(ref: str, parent: str | None, commits: Iterable[tuple[str, Files]]) -> Iterator[bytes]:
    """Yield the input of `git fast-import` that puts commits with these messages and files on `ref`, in a row."""
    for message, files in commits:
        data = message.encode()
        yield b"commit %s\ncommitter %s\ndata %d\n%s\n" % (ref.encode(), _COMMITTER, len(data), data)
        if parent:
            yield b"from %s\n" % parent.encode()
            parent = None
        for path, content in files:
            yield b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(content), content)
        yield b"\n"
