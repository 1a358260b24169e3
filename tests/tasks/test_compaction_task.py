"""Compaction as worker nodes do it."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from pytest_celery import CeleryTestSetup

from storage.base.ids import ChangesetId
from storage.base.settings import Settings
from storage.repository import Repository
from tests.support.world import World

SOON = {
    "history_age": 1.0, "late_put": 4.0, "inbox_margin": 6.0, "gc_grace": 60.0, "compact_entries": 4,
    "checkpoint_entries": 2,
}  # fmt: skip


@pytest.fixture
def celery_settings(celery_settings: Settings) -> Settings:
    return replace(celery_settings, **SOON)


def archived(world: World, setup: CeleryTestSetup, more_than: int) -> int:
    """Have the nodes keep up and compact until more entries are archived; return up to which they are."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for task in ("sluice.upkeep", "sluice.compact"):
            setup.app.send_task(task)
        found = world.repo.view.head().archived
        if found > more_than:
            return found
        time.sleep(0.5)
    raise AssertionError(f"no more than {more_than} entries are archived after two minutes")


def running(setup: CeleryTestSetup) -> list[int]:
    """Return the ids of the nodes' processes."""
    return sorted(row["pid"] for node in setup.worker_cluster for row in node.get_running_processes_info(["pid"]))


def landed(world: World, names: range) -> list[ChangesetId]:
    """Land changesets, each in a batch of its own."""
    ids = []
    for name in names:
        ids.append(world.put({f"d/{name}": b"%d" % name}))
        world.work()
    return ids


def test_nodes_compact(celery_setup: CeleryTestSetup, celery_settings: Settings) -> None:
    repo = Repository(celery_settings)
    repo.prepare(timeout=60.0)  # the nodes do so as well
    world = World(repo)
    until = time.monotonic() + 120
    while (
        not repo.queue.recovered_state() and time.monotonic() < until
    ):  # a node may have begun to look through the inbox
        time.sleep(0.05)
    processes = sorted(pid for node in celery_setup.worker_cluster for pid in node.those_that_stay())
    ids = landed(world, range(4))
    first = archived(world, celery_setup, 0)
    ids += landed(world, range(4, 8))
    archived(world, celery_setup, first)
    assert [world.status(each) for each in ids] == ["committed"] * 8
    # Nobody died of it, and none is left of those that were forked.
    until = time.monotonic() + 120
    while (now := running(celery_setup)) != processes and time.monotonic() < until:
        time.sleep(0.1)
    assert now == processes
    said = [node.logs() for node in celery_setup.worker_cluster]
    assert "compacted" in "".join(said)
    assert not [line for each in said for line in each.splitlines() if "work_failed" in line or "task_failed" in line]
