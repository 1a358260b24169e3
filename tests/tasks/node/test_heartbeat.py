"""Nodes say that they are at work as long as they take messages, and whoever asks is told who is not there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from storage.base.settings import Settings, environment
from storage.coordination.nodes import Nodes
from storage.repository import Repository
from tasks.node.program import running_program

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0


def await_true(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.fixture
def nodes(celery_settings: Settings) -> Nodes:
    return Repository(celery_settings).nodes


def work(nodes: Nodes) -> set[str]:
    return {each for node in nodes.at_work() for each in node.work}


def test_a_node_is_missed_while_it_is_dead_or_hangs_and_not_afterwards(
    celery_setup: CeleryTestSetup, nodes: Nodes
) -> None:
    worker, merger = celery_setup.worker_cluster
    await_true(lambda: work(nodes) == {"commits", "merges", "upkeep"})
    await_true(lambda: {node.name for node in nodes.at_work()} == {worker.hostname(), merger.hostname()})
    merger.kill("SIGSTOP")
    await_true(lambda: work(nodes) == {"commits", "upkeep"})
    merger.kill("SIGCONT")
    await_true(lambda: work(nodes) == {"commits", "merges", "upkeep"})
    worker.kill()
    await_true(lambda: work(nodes) == {"merges", "upkeep"})
    worker.restart()
    await_true(lambda: work(nodes) == {"commits", "merges", "upkeep"})


def test_a_node_that_stops_says_so_at_once(celery_setup: CeleryTestSetup, nodes: Nodes) -> None:
    await_true(lambda: "merges" in work(nodes))
    celery_setup.worker_cluster[1].kill("SIGTERM")
    await_true(lambda: "merges" not in work(nodes))


def test_all_are_known_again_after_redis_forgot_everything(celery_setup: CeleryTestSetup, nodes: Nodes) -> None:
    await_true(lambda: work(nodes) == {"commits", "merges", "upkeep"})
    with celery_setup.broker.container.client as known:
        known.flushall()
    await_true(lambda: work(nodes) == {"commits", "merges", "upkeep"})


def test_a_health_check_asks_for_the_node_of_its_own_host(
    celery_setup: CeleryTestSetup, celery_settings: Settings, nodes: Nodes
) -> None:
    name = celery_setup.worker.hostname()
    await_true(lambda: "commits" in work(nodes))
    environ = environment(celery_settings, {"PYTHONPATH": str(ROOT)})

    def status(*argv: str) -> int:
        return subprocess.run(
            [sys.executable, "-m", "tasks.alive", *argv], cwd=ROOT, env=environ, check=False
        ).returncode

    await_true(lambda: status(name) == 0)
    assert status("commits") == 1, "its host has another name"
    assert status() == 2
    os.kill(celery_setup.worker.get_running_processes_info(["pid"])[0]["pid"], 19)
    await_true(lambda: "commits" not in work(nodes))
    assert status(name) == 1


@pytest.mark.parametrize(
    ("argv", "program"),
    [
        (["/venv/bin/celery", "-A", "tasks.celery", "worker", "-Q", "commits"], "worker"),
        (["/venv/lib/celery/__main__.py", "-A", "tasks.celery", "--quiet", "beat"], "beat"),
        (["/venv/bin/celery", "-A", "tasks.celery", "flower"], "flower"),
        (["/venv/bin/celery", "-A", "tasks.celery", "inspect", "ping"], None),
        (["/venv/bin/gunicorn", "app.api:create_app()"], None),
        (["/venv/bin/sluice", "restart", "worker"], None),
    ],
)
def test_only_celerys_lasting_programs_are_taken_over(argv: list[str], program: str | None) -> None:
    assert running_program(argv) == program
