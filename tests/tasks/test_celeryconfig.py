"""celeryconfig.py: a message is a hint, and every wait has an end."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import celery
import pytest

from storage.base.settings import Settings, dump

PATH = Path(__file__).parents[2] / "celeryconfig.py"


def configured(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> ModuleType:
    """The module as a process with these settings sees it."""
    for name, text in dump(Settings(**settings)).items():
        monkeypatch.setenv(name, text)
    spec = importlib.util.spec_from_file_location("celeryconfig_of_test", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return configured(monkeypatch)


def test_every_name_is_one_that_celery_knows(config: ModuleType):
    app = celery.Celery("test", set_as_current=False)
    known = {name.lower() for name in app.conf} | set(app.conf.defaults[-1])
    given = {name for name in vars(config) if not name.startswith("_") and name.islower()} - {"annotations"}
    assert given - known == set()


def test_no_message_is_redelivered_while_its_reader_may_still_work_on_it(config: ModuleType):
    # One being run, and one prefetched behind it.
    assert config.worker_prefetch_multiplier == 1
    longest = max([config.task_time_limit, *(limits["time_limit"] for limits in config.task_annotations.values())])
    assert config.broker_transport_options["visibility_timeout"] > 2 * longest


def test_the_soft_limit_leaves_time_to_give_back_what_is_held(config: ModuleType):
    for limits in ({"soft_time_limit": config.task_soft_time_limit, "time_limit": config.task_time_limit},
                   *config.task_annotations.values()):  # fmt: skip
        assert limits["time_limit"] - limits["soft_time_limit"] >= 60


def test_a_beat_tick_expires_so_that_ticks_do_not_pile_up(monkeypatch: pytest.MonkeyPatch):
    config = configured(monkeypatch, merge_interval=30.0, upkeep_interval=0.5)
    assert {
        name: (tick["task"], tick["schedule"], tick["options"]["expires"])
        for name, tick in config.beat_schedule.items()
    } == {
        "merge": ("sluice.merge", 30.0, 60.0),
        "upkeep": ("sluice.upkeep", 0.5, 10.0),
        "compact": ("sluice.compact", 0.5, 10.0),
    }


def test_webhooks_are_looked_at_where_there_can_be_any(monkeypatch: pytest.MonkeyPatch):
    assert "webhooks" not in configured(monkeypatch).beat_schedule
    tick = configured(monkeypatch, webhook_key="k" * 32, webhook_interval=0.5).beat_schedule["webhooks"]
    assert (tick["task"], tick["schedule"], tick["options"]["expires"]) == ("sluice.webhooks", 0.5, 10.0)


def test_mirrors_are_looked_at_where_there_can_be_any(monkeypatch: pytest.MonkeyPatch):
    assert "mirrors" not in configured(monkeypatch).beat_schedule
    tick = configured(monkeypatch, mirror_folder="/x", mirror_look=0.5).beat_schedule["mirrors"]
    assert (tick["task"], tick["schedule"], tick["options"]["expires"]) == ("sluice.mirrors", 0.5, 10.0)


def test_every_task_has_its_queue_and_every_queue_a_worker(config: ModuleType):
    from app.stack import commands

    routes = {name: route["queue"] for name, route in config.task_routes.items()}
    assert routes == {"sluice.commit": "commits", "sluice.merge": "merges", "sluice.upkeep": "upkeep",
                      "sluice.compact": "upkeep", "sluice.webhooks": "webhooks",
                      "sluice.deliver": "webhooks", "sluice.mirrors": "mirrors",
                      "sluice.mirror": "mirrors"}  # fmt: skip
    nodes = (commands.worker(1), commands.merger(), commands.sender(1))
    consumed = [argv[argv.index("-Q") + 1] for argv in nodes]
    assert consumed == ["commits,upkeep", "merges,upkeep", "webhooks,mirrors"], (
        "a view that is gone comes back whichever node has died"
    )
    assert set(",".join(consumed).split(",")) == {queue.name for queue in config.task_queues} == set(routes.values())


def test_only_json_is_read_and_nothing_is_stored_as_a_result(config: ModuleType):
    assert config.accept_content == ["json"]
    assert config.task_serializer == "json"
    assert (config.result_backend, config.task_ignore_result) == (None, True)


def test_repositories_on_one_redis_do_not_see_each_others_messages(monkeypatch: pytest.MonkeyPatch):
    prefixes = [
        configured(monkeypatch, repository=name).broker_transport_options["global_keyprefix"] for name in ("a", "b")
    ]
    assert prefixes == ["a:celery:", "b:celery:"]


def test_the_broker_may_be_another_redis_than_the_views(monkeypatch: pytest.MonkeyPatch):
    assert configured(monkeypatch, redis_url="redis://view/0").broker_url == "redis://view/0"
    both = {"redis_url": "redis://view/0", "broker_url": "redis://broker/1"}
    assert configured(monkeypatch, **both).broker_url == "redis://broker/1"
