"""One process runs `git merge-tree`, `git commit-tree` and `git update-ref` for each changeset.

What a merge queue around the git command does. The changesets are commits in the repository before the clock starts:
nothing is timed but merging them.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.figures import Figure, prove
from benchmarks.repos import Repo, git_version, stream
from benchmarks.workload import Workload

NEEDS = (2, 38)


def available() -> bool:
    """Whether Git is new enough to merge without a working tree."""
    return git_version() >= NEEDS


def run(seed_repo: Repo, folder: Path, workload: Workload, *, count: int = 600) -> Figure:
    """Merge `count` changesets. Raises Disproved."""
    repo = seed_repo.copy(folder / "merge-tree.git")
    base = tip = repo.resolve("main")
    changesets = list(workload.changesets(count))
    repo.fast_import(
        part
        for changeset in changesets
        for part in stream(_ref(changeset.number), base, [(changeset.message, changeset.files)])
    )
    theirs = repo.git("for-each-ref", "--format=%(refname) %(objectname)", "refs/changes").split()
    ids = dict(zip(theirs[::2], theirs[1::2], strict=True))
    started = time.perf_counter()
    for changeset in changesets:
        other = ids[_ref(changeset.number)]
        tree = repo.git("merge-tree", "--write-tree", tip, other).strip()
        merged = repo.git("commit-tree", tree, "-p", tip, "-p", other, "-m", changeset.message).strip()
        repo.git("update-ref", "refs/heads/main", merged, tip)
        tip = merged
    spent = time.perf_counter() - started
    prove("git merge-tree", repo.resolve("main^{tree}"), repo.expected_tree(base, changesets))
    return Figure(
        "git merge-tree", "one process, one by one", "landed/s", workload.seed, (count / spent,), {"landed": count}
    )


def _ref(number: int) -> str:
    return f"refs/changes/{number}"
