"""git fast-import, local, one stream, no checks: how fast Git itself takes commits in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.git import git
from benchmarks.workload import Changeset, fast_import_changes, stream


def run(base: Path, folder: Path, changesets: Sequence[Changeset]) -> tuple[int, float, str]:
    """Return how many landed, in how many seconds, and the final tree."""
    bare = folder / "import.git"
    git(None, "clone", "--quiet", "--bare", str(base), str(bare))
    parts = list(fast_import_changes("refs/heads/main", "refs/heads/main^0", iter(changesets)))
    started = time.monotonic()
    stream(bare, iter(parts))
    return len(changesets), time.monotonic() - started, git(bare, "rev-parse", "refs/heads/main^{tree}")
