"""One process: `git merge-tree` + `commit-tree` + `update-ref` for each change. A merge queue's inner loop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.git import git
from benchmarks.workload import Changeset, fast_import_changes, stream


def run(base: Path, folder: Path, changesets: Sequence[Changeset]) -> tuple[int, float, str]:
    """Return how many landed, in how many seconds, and the final tree. The branches to merge are made before."""
    bare = folder / "merge.git"
    git(None, "clone", "--quiet", "--bare", "--shared", str(base), str(bare))
    start = git(bare, "rev-parse", "refs/heads/main")
    for changeset in changesets:
        stream(bare, fast_import_changes(f"refs/heads/c{changeset.number}", start, iter([changeset])))
    sides = git(bare, "for-each-ref", "--format=%(objectname)", "refs/heads/c*").split()
    head = start
    started = time.monotonic()
    for side in sides:
        tree = git(bare, "merge-tree", "--write-tree", head, side)
        commit = git(bare, "commit-tree", tree, "-p", head, "-p", side, "-m", "merge")
        git(bare, "update-ref", "refs/heads/main", commit, head)
        head = commit
    return len(sides), time.monotonic() - started, git(bare, "rev-parse", "refs/heads/main^{tree}")
