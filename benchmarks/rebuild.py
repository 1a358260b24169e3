"""How long the view takes to load from the bucket alone: from the entries, and from a checkpoint's segments.

A stack lands the changesets as usual. Then everything in Redis is deleted, and the function that upkeep runs loads the
view and recovers the queues. The landed state must be the same before and after.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.figures import Disproved, Figure
from benchmarks.landing import Phase, Say, site
from benchmarks.workload import Workload
from storage.maintenance import checkpoint
from storage.repository import Repository
from storage.view.segments import FOLDER
from tasks.upkeep import run as run_upkeep

PHASE = Phase("rebuild", 4, 500, 5000)
_NEVER = 1 << 20


def run(workload: Workload, folder: Path, say: Say, *, changesets: int = 100_000, s3: str = "auto") -> list[Figure]:
    """Land so many changesets and measure both. Raises Refused and Disproved."""
    # Upkeep makes no checkpoint by itself here, so that there is a time without.
    settings = {"checkpoint_entries": _NEVER}
    with site(workload, folder / "rebuild.git", say, s3=s3, with_flower=False, settings=settings) as bench:
        bench.land_many(PHASE, workload, changesets, say)
        bench.stack.halt("beat")
        repo = Repository(bench.stack.settings)
        before = repo.view.head()
        figures = [_measure("rebuild, from the entries", repo, before, say, workload.seed)]
        object.__setattr__(repo.settings, "checkpoint_entries", 64)
        say("making a checkpoint")
        started = time.monotonic()
        segments = checkpoint(repo, _NEVER)
        size = sum(len(repo.bucket.get(name)) for name in repo.bucket.list_keys(FOLDER))
        spent = {"segments": segments, "making_seconds": time.monotonic() - started, "bytes": size}
        figures.append(_measure("rebuild, from a checkpoint", repo, before, say, workload.seed, **spent))
    return figures


def _measure(name: str, repo: Repository, before: Any, say: Say, seed: int, **more: Any) -> Figure:
    say(name)
    repo.redis.flushall()
    started = time.monotonic()
    run_upkeep(repo)
    seconds = time.monotonic() - started
    after = repo.view.head()
    if (after.root, after.merged, after.applied) != (before.root, before.merged, before.applied):
        raise Disproved(f"the view was at {before}, and is loaded as {after}")
    details = {"changesets": after.merged, "entries": after.applied, **more}
    return Figure(name, f"{after.merged:,} changesets, {after.applied:,} entries", "seconds", seed, (seconds,), details)
