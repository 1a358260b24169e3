"""Git is the judge of projections: an obvious, slow interpreter reduces each commit of the chain with Git's own index.

It knows nothing of the log but the moments at which definitions changed.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from storage.base.settings import Settings
from storage.clones.clone import Clone
from storage.operations.slices import change_paths, define
from storage.repository import Repository
from storage.view.snapshot import Slice
from tests.support.clones import clone_of, commits_of, fsck, git, land
from tests.support.world import World

NAMES = ["a", "b", "a.b", "ü", "c c"]
MESSAGES = ["Change\n", "Ä subject\n\nA body\nof lines.\n", "S\n\nReviewed-by: B <b@example.org>\n"]


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(settings))


def covered(path: str, paths: frozenset[bytes]) -> bool:
    return any(p == b"/" or path.encode() == p or (p.endswith(b"/") and path.encode().startswith(p)) for p in paths)


class Interpreter:
    """Filters the history of a bare repository, commit by commit, as git filter-branch would."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source = source
        self.environ = {
            "PATH": os.environ["PATH"], "GIT_DIR": str(source), "GIT_INDEX_FILE": str(folder / "index"),
            "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(folder), "LC_ALL": "C.UTF-8",
        }  # fmt: skip

    def git(self, *arguments: str, stdin: str = "", **more: str) -> str:
        done = subprocess.run(
            ["git", *arguments], input=stdin.encode(), env=self.environ | more, check=True, capture_output=True
        )
        return done.stdout.decode()

    def tree(self, commit: str, paths: frozenset[bytes]) -> str:
        rows = [row for row in self.git("ls-tree", "-r", "-z", commit).split("\0") if row]
        kept = [row for row in rows if covered(row.split("\t", 1)[1], paths)]
        self.git("read-tree", "--empty")
        self.git("update-index", "-z", "--index-info", stdin="".join([row + "\0" for row in kept]))
        return self.git("write-tree").strip()

    def commit(self, of: str, tree: str, parent: str | None, message: str | None = None) -> str:
        """Make a commit that says what another one does or, with a message, what Sluice says in its place."""
        form = "%an%x00%ae%x00%ad%x00%cn%x00%ce%x00%cd%x00%B"
        name, mail, date, who, where, when, body = self.git("log", "-1", "--date=raw", f"--format={form}", of).split(
            "\0"
        )
        if message is None:
            message = "\n".join([line for line in body.rstrip().split("\n") if not line.startswith("Changeset-")])
            message = message.rstrip() + "\n"
        else:
            name, mail = who, where = "Sluice", "sluice@localhost"
            date = when
        idents = {
            "GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": mail, "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_NAME": who, "GIT_COMMITTER_EMAIL": where, "GIT_COMMITTER_DATE": when,
        }  # fmt: skip
        parents = ["-p", parent] if parent else []
        return self.git("commit-tree", tree, *parents, stdin=message, **idents).strip()

    def filtered(self, definitions: list[tuple[str, Slice]], edits: Mapping[str, Collection[str]]) -> list[str]:
        """Return the commits; each definition with the newest commit of the chain when it was made.

        `edits` has the paths that each commit's changeset was to change.
        """
        made: list[str] = []
        last = self.git("mktree", "--missing").strip()
        paths = definitions[0][1].paths
        chain = self.git("rev-list", "--reverse", "main").split()
        changes = {at: new.paths for at, new in definitions[1:]}
        for commit in chain:
            for redefined in (False, True):
                if redefined:
                    if commit not in changes:
                        continue
                    paths = changes[commit]
                tree = self.tree(commit, paths)
                if tree != last:
                    is_part = any(not covered(path, paths) for path in edits.get(commit, ()))
                    message = "The part of a change that has other paths too\n" if is_part else None
                    if redefined:
                        message = "Change the paths of this slice\n"
                    made.append(self.commit(commit, tree, made[-1] if made else None, message))
                    last = tree
        return made[::-1]


def edit(world: World, rng: random.Random) -> dict[str, bytes | str | None]:
    """Return random changes: new files, other contents, deletions, files in the place of directories."""
    there = list(world.files())
    changes: dict[str, bytes | str | None] = {}
    for _ in range(rng.randint(1, 4)):
        if there and rng.random() < 0.3:
            changes[rng.choice(there)] = None
            continue
        path = "/".join(rng.choices(NAMES, k=rng.randint(1, 3)))
        clash = {other for other in there if other.startswith(path + "/") or path.startswith(other + "/")}
        if any(other != path and (other.startswith(path + "/") or path.startswith(other + "/")) for other in changes):
            continue
        changes |= dict.fromkeys(clash)
        changes[path] = rng.choice([b"%d\n" % rng.randint(0, 9), f"exec:{rng.randint(0, 2)}", "link:a"])
    return changes or {"z": b"%d\n" % rng.randint(0, 1 << 30)}


@pytest.mark.parametrize("seed", [1, 2])
def test_random_histories_are_projected_as_git_itself_would_filter_them(
    world: World, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    print(f"seed {seed}")
    definitions = {
        name: [("", define(world.repo, name, paths))]
        for name, paths in (("one", ["a/", "b"]), ("two", ["c c/", "a/a", "ü/a/"]), ("three", ["a.b/"]))
    }
    tip = world.repo.view.head().tip
    edits: dict[str, Collection[str]] = {}
    for step in range(24):
        changes = edit(world, rng)
        tip = land(world, changes, message=rng.choice(MESSAGES))
        edits[tip] = changes.keys()
        if step in (9, 17):
            name = rng.choice(["one", "two"])
            old = definitions[name][-1][1]
            paths = sorted({path.decode() for path in old.paths} | {rng.choice(NAMES) + "/"})
            changed = change_paths(world.repo, old.id, paths)
            if changed.version != old.version:
                definitions[name].append((tip, changed))
    whole = clone_of(world, tmp_path, None)
    fsck(whole)
    judge = Interpreter(whole.path, tmp_path)
    for name, versions in definitions.items():
        clone: Clone = clone_of(world, tmp_path, versions[-1][1])
        assert commits_of(clone) == judge.filtered(versions, edits), name
        fsck(clone)
    everything = clone_of(world, tmp_path, world.all)
    assert commits_of(everything) == judge.filtered([("", world.all)], edits)
    assert git(everything.path, "rev-parse", "main^{tree}") == git(whole.path, "rev-parse", "main^{tree}")
