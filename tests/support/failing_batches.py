"""Workers whose batches fail: they go on, and in the end a changeset is rejected for it."""

from __future__ import annotations

from storage.commit.batch import commit_batch
from storage.log.records import Outcome
from tests.support.world import World

MOST_BATCHES = 60


def work(world: World, *errors: type[BaseException]) -> int:
    """Commit until nothing is left to do; returns how many batches failed."""
    failed = 0
    for _ in range(MOST_BATCHES):
        try:
            if not commit_batch(world.repo).changesets:
                return failed
        except errors:
            failed += 1
    raise AssertionError(f"{MOST_BATCHES} batches, and no end")


def more(world: World, number: int) -> None:
    """Another changeset lands."""
    assert world.status(world.put({f"more{number}": b"x"}))


def until_rejected(world: World, poison: str, *errors: type[BaseException]) -> Outcome:
    """Let others land and workers run until the poison is decided; returns its outcome."""
    for number in range(10):
        work(world, *errors)
        outcome = world.repo.outcome(poison)
        if outcome:
            return outcome
        more(world, number)
    raise AssertionError("never decided")
