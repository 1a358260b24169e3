"""One process lands one changeset after the other with libgit2: blobs, trees on the path, commit, reference.

What one loop over a Git library on a local disk does: no network, no other writers, loose objects without fsync.
"""

from __future__ import annotations

import time
from pathlib import Path

import pygit2

from benchmarks.figures import Figure, prove
from benchmarks.repos import Repo
from benchmarks.workload import Workload


def run(seed_repo: Repo, folder: Path, workload: Workload, *, count: int = 3000) -> Figure:
    """Land `count` changesets. Raises Disproved."""
    judge = seed_repo.copy(folder / "pygit2.git")
    base = judge.resolve("main")
    repo = pygit2.Repository(str(judge.path))
    who = pygit2.Signature("Bench", "bench@example.org", 1_700_000_000, 0)
    changesets = list(workload.changesets(count))
    tree = repo[base].peel(pygit2.Tree)
    tip = pygit2.Oid(hex=base)
    started = time.perf_counter()
    for changeset in changesets:
        for path, content in changeset.files:
            tree = repo[_put(repo, tree, path.split("/"), repo.create_blob(content))].peel(pygit2.Tree)
        tip = repo.create_commit("refs/heads/main", who, who, changeset.message, tree.id, [tip])
    spent = time.perf_counter() - started
    prove("pygit2", judge.resolve("main^{tree}"), judge.expected_tree(base, changesets))
    return Figure(
        "pygit2, loose objects",
        "one process, one by one",
        "landed/s",
        workload.seed,
        (count / spent,),
        {"landed": count},
    )


def _put(repo: pygit2.Repository, tree: pygit2.Tree, parts: list[str], blob: pygit2.Oid) -> pygit2.Oid:
    """Return the id of `tree` with a file replaced, and so every directory above it."""
    builder = repo.TreeBuilder(tree)
    if len(parts) == 1:
        builder.insert(parts[0], blob, pygit2.enums.FileMode.BLOB)
    else:
        below = _put(repo, tree[parts[0]].peel(pygit2.Tree), parts[1:], blob)
        builder.insert(parts[0], below, pygit2.enums.FileMode.TREE)
    return builder.write()
