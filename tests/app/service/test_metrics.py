"""GET /metrics: every metric, with the value that the repository has."""

from __future__ import annotations

import dataclasses

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from app.service.metrics import families, render
from app.service.services import Services
from storage.backends.bucket import BucketError
from storage.base.settings import Settings
from storage.commit import batch
from storage.commit.batch import commit_batch
from storage.coordination import Reporter
from storage.coordination.nodes import WORK
from storage.metrics import definitions
from storage.metrics.counts import COUNTS, SUM
from storage.operations.lifecycle import abandon
from storage.repository import Repository
from tests.support.api import Api
from tests.support.compaction import aged_world, compacted
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("only_this_test_counts")


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(settings))


def metrics(repo: Repository) -> dict[str, float]:
    """Return the samples by name, those of `sluice_nodes` by name and work."""
    families = text_string_to_metric_families(render(repo).decode())
    samples = [sample for family in families for sample in family.samples]
    return {".".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def state(repo: Repository) -> dict[str, float]:
    """Return the samples that are no counts of processes."""
    counted = tuple(metric.name for metric in definitions.ALL)
    return {name: value for name, value in metrics(repo).items() if not name.startswith(counted)}


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
    found, memory = state(repo), repo.memory.now()
    assert found.pop("sluice_redis_used_bytes") > 0 and found.pop("sluice_redis_max_bytes") == memory.limit
    assert 0 < found.pop("sluice_oldest_queued_seconds") < 3600
    assert found == {
        "sluice_event_streams": 0.0,
        "sluice_git_requests": 0.0,
        "sluice_long_polls": 0.0,
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


def test_what_entries_decide_is_counted_by_kind_and_reason(world: World) -> None:
    COUNTS.take()
    first = world.put({"f": b"1"})
    world.work()
    world.put({"f": b"2"}, first)
    world.put({"f": b"3"}, first)  # conflicts
    gone = world.put({"g": b"1"})
    abandon(world.repo, gone)
    while commit_batch(world.repo).changesets:
        pass
    world.work()
    Reporter(world.repo.settings, "test").report()
    found = metrics(world.repo)
    counted = {name: value for name, value in found.items() if name.startswith("sluice_outcomes")}
    assert counted == {
        "sluice_outcomes_total.committed.": 2.0,
        "sluice_outcomes_total.conflicted.content": 1.0,
        "sluice_outcomes_total.abandoned.": 1.0,
    }
    assert found["sluice_decided_seconds_count"] == 3.0, "what was taken back did not wait to be decided"
    assert found["sluice_batch_changesets_sum"] == 3.0
    assert found["sluice_batch_seconds_count"] == found["sluice_entries_total.commits"] - 1
    assert sum(value for name, value in found.items() if name.startswith("sluice_merges_total")) == 2.0


def test_a_batch_that_gives_back_all_is_counted_with_its_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    COUNTS.take()
    world.put({"f": b"1"})

    def fail(*_: object) -> None:
        raise BucketError("away")

    monkeypatch.setattr(batch, "prove", fail)
    with pytest.raises(BucketError):
        commit_batch(world.repo)
    counted = {key: count for key, count in COUNTS.take().items() if key[0] == "sluice_batch_failures"}
    assert counted == {("sluice_batch_failures", ("unavailable",), ""): 1}


def test_calls_of_redis_and_the_bucket_are_counted_and_failures_by_their_kind(world: World) -> None:
    repo = world.repo
    COUNTS.take()
    repo.bucket.create("probe/a", b"1")
    assert repo.bucket.get_many(["probe/a", "probe/none"]) == [b"1", None], "that nothing is there is an answer"
    away = Repository(dataclasses.replace(repo.settings, redis_url="redis://127.0.0.1:1/0"))
    with pytest.raises(redis.ConnectionError):
        away.view.head()
    counted = COUNTS.take()
    calls = [count for (name, labels, part), count in counted.items()
             if (name, labels) == ("sluice_call_seconds", ("bucket",)) and part != SUM]  # fmt: skip
    assert sum(calls) == 3
    assert {labels for name, labels, _ in counted if name == "sluice_call_errors"} == {
        ("redis", "ConnectionRefusedError")
    }


def test_requests_are_counted_by_endpoint_and_status_and_refusals_by_problem(settings: Settings) -> None:
    COUNTS.take()
    api = Api(settings)
    for _ in range(3):
        api.get("/head")
    api.get("/slices/none", 404)
    api.get("/nowhere", 404)
    api.submit(422, base="x", changes=[])
    found = of_api(api)
    assert {name: value for name, value in found.items() if name.startswith("sluice_requests_total")} == {
        "sluice_requests_total.reads.head.200": 3.0,
        "sluice_requests_total.slices.show.404": 1.0,
        "sluice_requests_total.none.404": 1.0,
        "sluice_requests_total.changesets.submit.422": 1.0,
    }
    assert {name: value for name, value in found.items() if name.startswith("sluice_refusals_total")} == {
        "sluice_refusals_total.not-found.404": 2.0,
        "sluice_refusals_total.invalid.422": 1.0,
    }
    assert found["sluice_request_seconds_count.reads.head.2xx"] == 3.0
    assert found["sluice_request_seconds_count.changesets.submit.4xx"] == 1.0


def of_api(api: Api) -> dict[str, float]:
    """Return what /metrics says once this process has reported."""
    services: Services = api.http.application.extensions["sluice"]
    services.reporter.report()
    return metrics(services.repo)


def test_a_changeset_is_counted_where_it_is_accepted_and_a_repeat_is_not(settings: Settings) -> None:
    COUNTS.take()
    api = Api(settings)
    changes = [{"op": "put", "path": "f", "content": "x"}]
    for _ in range(2):
        api.submit(base=api.tip, changes=changes, key="k")
    assert of_api(api)["sluice_submitted_total"] == 1.0


def test_what_another_version_counts_does_no_harm() -> None:
    found = list(families({("sluice_gone", (), ""): 1, ("sluice_refusals", ("a",), ""): 1}))
    assert [family.name for family in found] == [metric.name for metric in definitions.ALL]
    assert [family.samples for family in found if family.name == "sluice_refusals"] == [[]]
