"""Worker nodes and their broker, as containers or as processes: what dies comes back, and hints are taken."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import psutil
import pytest
from kombu.exceptions import OperationalError
from pytest_celery import CeleryTestSetup
from redis.exceptions import RedisError

from tests.support.logs import logged
from tests.support.waiting import await_true


def consumes(setup: CeleryTestSetup, node: int, task: str) -> None:
    """The node takes a hint and ends its run well; the log of this life of the node says so."""
    reason = f"asked for by {uuid.uuid4().hex}"
    setup.app.send_task(task, kwargs={"reason": reason})
    setup.worker_cluster[node].wait_for_log(f'"reason": "{reason}"')


def test_the_nodes_are_those_of_a_deployment_and_answer_by_name(celery_setup: CeleryTestSetup):
    assert celery_setup.ready()
    names = [node.hostname() for node in celery_setup.worker_cluster]
    assert [name.split("@")[0] for name in names] == ["commits", "merges"]
    # A node says that it is ready before it listens to such questions.
    asked, until = celery_setup.app.control.inspect(names, timeout=5), time.monotonic() + 60
    while set(answers := asked.active_queues() or {}) != set(names):
        assert time.monotonic() < until, answers
    queues = {name: sorted(queue["name"] for queue in answers[name]) for name in names}
    assert queues == {names[0]: ["commits", "upkeep"], names[1]: ["merges", "upkeep"]}


def test_a_killed_node_leaves_nothing_and_takes_the_hint_that_waited(celery_setup: CeleryTestSetup):
    worker = celery_setup.worker
    assert len(worker.those_that_stay()) == 3  # itself and two that commit
    worker.kill()
    assert worker.get_running_processes_info(["pid"]) == []
    celery_setup.app.send_task("sluice.commit", kwargs={"token": "t"})
    worker.restart()
    worker.wait_for_log('"task": "sluice.commit"')


def test_a_child_that_is_killed_is_replaced_and_the_node_goes_on(celery_setup: CeleryTestSetup):
    merger = celery_setup.worker_cluster[1]
    node, *children = merger.those_that_stay()
    for child in children:
        psutil.Process(child).kill()
    consumes(celery_setup, 1, "sluice.merge")
    same, *others = merger.those_that_stay()
    assert same == node and len(others) == len(children) == 2
    assert not [child for child in others if child in children]


def test_nodes_take_hints_again_after_the_broker_forgot_everything(celery_setup: CeleryTestSetup):
    consumes(celery_setup, 1, "sluice.merge")
    with celery_setup.broker.container.client as known:
        known.flushall()
    consumes(celery_setup, 1, "sluice.merge")


def test_nodes_take_hints_again_after_the_broker_was_restarted(celery_setup: CeleryTestSetup):
    celery_setup.broker.restart()
    consumes(celery_setup, 1, "sluice.merge")


def test_a_run_that_fails_is_said_once_and_with_its_traceback(celery_setup: CeleryTestSetup):
    celery_setup.app.send_task("sluice.merge", kwargs={"reason": "a test", "nonsense": 1})
    consumes(celery_setup, 1, "sluice.merge")
    merger = celery_setup.worker_cluster[1]

    def failures() -> list[dict[str, Any]]:
        return [each for each in logged(merger.logs()) if "nonsense" in json.dumps(each)]

    await_true(lambda: bool(failures()))  # another child may have taken the second hint, and ended first
    [failed] = failures()
    assert (failed["event"], failed["error"], failed["task"]) == ("task_failed", "TypeError", "sluice.merge")
    assert failed["exception"].startswith("Traceback")


def test_messages_of_an_older_version_are_taken(celery_setup: CeleryTestSetup):
    for task in ("sluice.commit", "sluice.merge", "sluice.upkeep", "sluice.compact"):
        celery_setup.app.send_task(task, kwargs={"token": "t"} if task in {"sluice.commit", "sluice.merge"} else {})
    consumes(celery_setup, 0, "sluice.commit")
    consumes(celery_setup, 1, "sluice.merge")
    assert "task_failed" not in "".join(node.logs() for node in celery_setup.worker_cluster)


def test_nodes_outlive_a_full_broker_and_take_hints_again_afterwards(celery_setup: CeleryTestSetup):
    nodes = [node.those_that_stay()[0] for node in celery_setup.worker_cluster]
    with celery_setup.broker.container.client as known:
        known.config_set("maxmemory", 1)
        with pytest.raises((RedisError, OperationalError)):
            celery_setup.app.send_task("sluice.merge")
        # What it does while it is full: it looks for room by itself, and asks nobody.
        celery_setup.worker_cluster[1].wait_for_log("redis_memory_tight", timeout=60)
        known.config_set("maxmemory", 0)
    consumes(celery_setup, 0, "sluice.commit")
    consumes(celery_setup, 1, "sluice.merge")
    assert [node.those_that_stay()[0] for node in celery_setup.worker_cluster] == nodes
