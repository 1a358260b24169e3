"""Clone stores of tests: what Git says of them, what they should have, and where the log is."""

from __future__ import annotations

import subprocess
from pathlib import Path

from storage.base.ids import ObjectId, oid_of
from storage.clones.clone import Clone
from storage.clones.clones import Clones
from storage.clones.locks import locked
from storage.clones.stores import PACKING
from storage.git.objects import Kind
from storage.git.run_git import Git, isolated_environment
from storage.git.trees import project
from storage.repository import Repository
from storage.view.snapshot import Slice
from tests.support.world import Files, World


def git(path: Path, *arguments: str, accept: tuple[int, ...] = (0,)) -> str:
    """Return what Git says in a bare repository, to which no configuration of this machine applies."""
    return Git(environment=isolated_environment(path)).run(*arguments, accept=accept).stdout.decode().strip()


def land(world: World, files: Files, **more: object) -> str:
    """Land a changeset, and return its commit of the chain."""
    changeset = world.put(files, **more)
    world.work()
    outcome = world.repo.outcome(changeset)
    assert outcome is not None and outcome.commit is not None
    return outcome.commit


def reopened(world: World) -> Repository:
    """Return the repository as another process has it: with no object in memory."""
    return world.reopened().repo


def clone_of(world: World, folder: Path, of: Slice | None, repo: Repository | None = None) -> Clone:
    """Return a store in a folder that is up to date with the view."""
    clones = Clones(repo or reopened(world), folder)
    clone = clones.of_slice(of) if of else clones.whole()
    assert clone.catch_up(world.repo.view.head().applied) >= world.repo.view.head().applied
    return clone


def main_of(clone: Clone) -> str:
    """Return the branch's commit, empty where there is none."""
    return git(clone.path, "rev-parse", "--verify", "-q", "refs/heads/main", accept=(0, 1))


def commits_of(clone: Clone) -> list[str]:
    """Return the ids of all commits of the branch, the newest first."""
    return git(clone.path, "rev-list", "main").split()


def objects_of(clone: Clone) -> set[str]:
    """Return the ids of all objects that stand in a store, reached or not."""
    listed = git(clone.path, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)", "--unordered")
    return set(listed.split())


def has_object(clone: Clone, oid: str) -> bool:
    """Tell whether Git finds an object in a store, as a fetch of it by its id would."""
    found = Git(environment=isolated_environment(clone.path)).run("cat-file", "-e", oid, accept=(0, 1, 128))
    return found.returncode == 0


def fsck(clone: Clone) -> None:
    """Have Git check everything in a store; what neither refs nor the newest global commit reach is an error too.

    A pack that is merged into another meanwhile, and gone, would be one as well: that waits.
    """
    main = clone._table.state().main
    heads = [*git(clone.path, "rev-parse", "--all").split(), *[main] * bool(main)]
    with locked(clone.folder / PACKING, timeout=60):
        said = git(clone.path, "fsck", "--strict", "--unreachable", "--no-progress", *heads)
    assert said == "", said


def expected_tree(world: World, chain: str, paths: frozenset[bytes]) -> str:
    """Return the tree that the API's manifests of a slice have at a commit of the chain."""
    root = world.repo.objects.commit_tree(oid_of(chain))
    assert root is not None
    oid, _ = project(world.repo.objects.tree, root, paths)
    return oid.hex()


def blob(content: bytes) -> str:
    """Return the id of a file's contents, as Git has it."""
    done = subprocess.run(["git", "hash-object", "--stdin"], input=content, capture_output=True, check=True)
    return done.stdout.decode().strip()


def commit_bytes(world: World, chain: str) -> bytes:
    """Return a commit of the chain as it is stored."""
    kind, data = world.repo.objects.read(ObjectId(bytes.fromhex(chain)))
    assert kind == Kind.COMMIT
    return data
