"""GET /metrics: every metric, with the value that the repository has."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.service.metrics import render
from storage.base.settings import Settings
from storage.commit.batch import commit_batch
from storage.coordination.nodes import WORK
from storage.repository import Repository
from tests.support.compaction import aged_world, compacted
from tests.support.world import World


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(settings))


def metrics(repo: Repository) -> dict[str, float]:
    """Return the samples by name, those of `sluice_nodes` by name and work."""
    families = text_string_to_metric_families(render(repo).decode())
    samples = [sample for family in families for sample in family.samples]
    return {".".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def test_each_metric_has_the_value_of_the_repository(world: World) -> None:
    repo = world.repo
    first = world.put({"f": b"1"})
    world.work()
    world.put({"f": b"2"}, first)
    world.put({"f": b"3"}, first)  # conflicts
    while commit_batch(repo).changesets:
        pass
    world.put({"g": b"1"})
    world.put({"g": b"2"})
    found, memory = metrics(repo), repo.memory.now()
    assert found.pop("sluice_redis_used_bytes") > 0 and found.pop("sluice_redis_max_bytes") == memory.limit
    assert 0 < found.pop("sluice_oldest_queued_seconds") < 3600
    assert found == {
        "sluice_committed_total": 2.0,
        "sluice_landed_total": 1.0,
        "sluice_pending": 1.0,
        "sluice_queued": 2.0,
        "sluice_open_conflicts": 1.0,
        "sluice_root_mismatches_total": 0.0,
        "sluice_applied": float(repo.view.head().applied),
        "sluice_archived": 0.0,
        **{f"sluice_nodes.{work}": 0.0 for work in WORK},
    }


def test_counts_stay_when_history_is_archived(world: World) -> None:
    for content in (b"1", b"2"):
        world.put({"f": content})
        world.work()
    before = metrics(world.repo)
    compacted(aged_world(world))
    after = metrics(world.repo)
    assert after["sluice_archived"] > 0 == before["sluice_archived"]
    for name in ("sluice_committed_total", "sluice_landed_total"):
        assert after[name] == before[name] == 2.0
