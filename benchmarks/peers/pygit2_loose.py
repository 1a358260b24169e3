"""pygit2 in one process: blobs, trees and commits as loose objects, and the branch moved. No checks, no durability."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pygit2

from benchmarks.git import git
from benchmarks.workload import Changeset


def run(base: Path, folder: Path, changesets: Sequence[Changeset]) -> tuple[int, float, str]:
    """Return how many landed, in how many seconds, and the final tree."""
    bare = folder / "pygit2.git"
    git(None, "clone", "--quiet", "--bare", str(base), str(bare))
    repo = pygit2.Repository(str(bare))
    who = pygit2.Signature("B", "b@example.org", 1_700_000_001, 0)
    head = repo.references["refs/heads/main"].target
    started = time.monotonic()
    for changeset in changesets:
        tree = repo[head].tree.id
        for path, data in changeset.files:
            tree = _put(repo, tree, path.split("/"), repo.create_blob(data))
        head = repo.create_commit("refs/heads/main", who, who, "change\n", tree, [head])
    return len(changesets), time.monotonic() - started, git(bare, "rev-parse", "refs/heads/main^{tree}")


def _put(repo: pygit2.Repository, tree: pygit2.Oid, parts: list[str], blob: pygit2.Oid) -> pygit2.Oid:
    builder = repo.TreeBuilder(repo[tree])
    if len(parts) == 1:
        builder.insert(parts[0], blob, pygit2.enums.FileMode.BLOB)
    else:
        below = builder.get(parts[0]).id
        builder.insert(parts[0], _put(repo, below, parts[1:], blob), pygit2.enums.FileMode.TREE)
    return builder.write()
