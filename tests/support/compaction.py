"""Everything is old at once: what compactions forget and archive in months, tests see in one call."""

from __future__ import annotations

from storage.maintenance.checkpoints import checkpoint
from storage.maintenance.compaction import Compacted, compact
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.world import World

AT_ONCE = {
    # Everything is old at once.
    "history_age": -1000.0, "key_age": 1e6, "inbox_margin": -1000.0, "gc_grace": 1e6,
    "compact_entries": 1, "checkpoint_entries": 1, "checkpoint_segments": 1000,
}  # fmt: skip


def change(repo: Repository, **settings: object) -> None:
    for name, value in settings.items():
        object.__setattr__(repo.settings, name, value)


def compacted(world: World) -> list[Compacted]:
    """Make checkpoints and all compactions that there are to be made."""
    made = []
    checkpoint(world.repo, 1000)
    while done := compact(world.repo):
        made.append(done)
        checkpoint(world.repo, 1000)
        if not done.entries:
            break
    return made


def emptied(world: World) -> World:
    """Return the world as another process finds it after Redis has lost the repository."""
    repo = world.repo
    repo.redis.delete(*repo.redis.keys(f"*{repo.settings.repository}*"))
    fresh = World.__new__(World)
    fresh.repo, fresh.all = Repository(repo.settings), world.all
    fresh.repo.prepare()
    run_upkeep(fresh.repo)
    return fresh
