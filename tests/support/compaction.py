"""Everything is old at once: what compactions forget and archive in months, tests see in one call."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from storage.base.ids import Seq
from storage.base.settings import Settings
from storage.log.entry import Compact
from storage.maintenance.checkpoints import checkpoint
from storage.maintenance.compaction import Compacted, compact
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.redis_rows import flush
from tests.support.world import World

_AT_ONCE = {
    "history_age": -1000.0, "key_age": 1e6, "inbox_margin": -1000.0, "gc_grace": 1e6,
    "compact_entries": 1, "checkpoint_entries": 1, "checkpoint_segments": 1000,
}  # fmt: skip


class _Unchecked(Settings):
    """Settings without their checks, which refuse an inbox that is old before a writer may be late."""

    def __post_init__(self) -> None:
        pass


def aged(settings: Settings, **changed: Any) -> Settings:
    """Return settings by which everything is old at once, but for the grace of garbage."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return _Unchecked(**values | _AT_ONCE | changed)


def aged_world(world: World, **changed: Any) -> World:
    """Return the world as a process has it to which everything is old at once."""
    return World(Repository(aged(world.repo.settings, **changed)), world.all)


def compaction(through: int) -> Compact:
    """Return the entry that archives those up to one, with their keys, and does nothing else."""
    return Compact(
        first=Seq(1), archived=Seq(through), keys_first=Seq(1), keys_through=Seq(through), mark="", archives=(),
        tables=(), dropped=(), retired=(), deleted=(), undecided={}, time=0,
    )  # fmt: skip


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
    flush(world)
    fresh = world.reopened()
    fresh.repo.prepare()
    run_upkeep(fresh.repo)
    return fresh
