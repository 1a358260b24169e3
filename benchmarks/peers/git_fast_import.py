"""One `git fast-import` reads all changesets as one stream of commits: as fast as Git writes history.

An upper bound and no peer in kind: the order is known beforehand, nobody gets an answer, and until the end
nothing has landed.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from benchmarks.figures import Figure, prove
from benchmarks.repos import Repo, stream
from benchmarks.workload import Workload


def run(seed_repo: Repo, folder: Path, workload: Workload, *, count: int = 5000) -> Figure:
    """Import `count` changesets. Raises Disproved."""
    rate = measure(seed_repo, folder, workload, count=count)
    return Figure("git fast-import", "one stream", "landed/s", workload.seed, (rate,), {"landed": count})


def measure(seed_repo: Repo, folder: Path, workload: Workload, *, count: int) -> float:
    """Import `count` changesets into a copy, which is removed; return how many a second. Raises Disproved."""
    repo = seed_repo.copy(folder / "fast-import.git")
    base = repo.resolve("main")
    changesets = list(workload.changesets(count))
    whole = b"".join(
        stream("refs/heads/main", base, [(changeset.message, changeset.files) for changeset in changesets])
    )
    started = time.perf_counter()
    repo.fast_import([whole])
    spent = time.perf_counter() - started
    # Its judge is Git's index, fed with ids that were hashed here.
    prove("git fast-import", repo.resolve("main^{tree}"), repo.expected_tree(base, changesets))
    shutil.rmtree(repo.path)
    return count / spent
