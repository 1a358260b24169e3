"""Metrics of a deployment with several API processes and worker hosts: the sums are exact, whoever is asked."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import __version__
from app.client.api_client import Client
from app.stack import commands
from app.stack.health import answers
from app.stack.processes import Command, Supervisor
from app.stack.servers import free_ports
from storage.base.settings import Settings, environment

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0

one_s3 = pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)


@dataclass
class Deployment:
    """Two APIs, of which one has two processes, two worker hosts and a merger."""

    settings: Settings
    supervisor: Supervisor
    urls: list[str]

    def clients(self) -> list[Client]:
        return [Client(url) for url in self.urls]

    def metrics(self, url: str) -> dict[str, float]:
        """Return the samples that an API shows, by name and labels."""
        with urlopen(f"{url}/metrics", timeout=PATIENCE) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            samples = [sample for family in families for sample in family.samples]
        return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}

    def await_all(self, expected: dict[str, float]) -> dict[str, float]:
        """Wait until each API shows these values, and return all that the last one shows."""
        until = time.monotonic() + PATIENCE
        while True:
            shown = [self.metrics(url) for url in self.urls]
            if all({name: each.get(name, 0.0) for name in expected} == expected for each in shown):
                return shown[-1]
            assert time.monotonic() < until, [{name: each.get(name) for name in expected} for each in shown]
            time.sleep(0.1)


@pytest.fixture
def deployment(settings: Settings, tmp_path: Path) -> Iterator[Deployment]:
    environ = environment(settings, {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"})
    ports = free_ports(2)
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    with Supervisor(tmp_path / "logs", restart=False) as supervisor:

        def command(name: str, argv: list[str], ready: Callable[[], bool] | None = None) -> Command:
            return Command(name, commands.runnable(argv), environ, tmp_path, ready, grace=60.0)

        apis = []
        for number, (port, url) in enumerate(zip(ports, urls, strict=True)):
            argv = commands.api(f"127.0.0.1:{port}")
            argv[argv.index("-w") + 1] = str(number + 1)
            apis.append(command(f"api{number}", argv, partial(answers, f"{url}/readyz")))
        hosts = [
            command(f"worker-{host}", [part.replace("%h", host) for part in commands.worker(2)]) for host in ("a", "b")
        ]
        supervisor.start(*apis, *hosts, command("merger", commands.merger()))  # together: one needs the other
        yield Deployment(settings, supervisor, urls)


def land(deployment: Deployment, count: int) -> None:
    """Submit changesets by all APIs in turn, and wait until all have landed."""
    clients = deployment.clients()
    made = []
    tip = clients[0].head()["tip"]["commit"]
    for i in range(count):
        changes = [{"op": "put", "path": f"{tip}/{i}", "content": "x"}]
        item = {"base": tip, "message": "m", "changes": changes}
        made.append(clients[i % len(clients)].submit("all", item)["id"])
    for changeset in made:
        assert clients[0].changeset(changeset, 30, "landed")["status"] == "landed"


@one_s3
def test_sums_of_all_processes_are_exact_and_go_on_when_some_are_restarted(deployment: Deployment) -> None:
    first, second = deployment.clients()
    deployment.await_all({"sluice_nodes commits": 2.0, "sluice_nodes merges": 1.0})
    first.create_slice("all", ["/"])
    for i in range(40):
        (first, second)[i % 2].slice("all")
    land(deployment, 30)
    kinds = {"api": 3.0, "commits": 2.0, "commits-tasks": 4.0, "merges": 1.0, "merges-tasks": 2.0}
    processes = {f"sluice_processes {kind} {__version__}": count for kind, count in kinds.items()}
    shown = deployment.await_all(
        {
            "sluice_requests_total slices.show 200": 40.0,
            "sluice_request_seconds_count slices.show 2xx": 40.0,
            "sluice_requests_total changesets.submit 202": 30.0,
            "sluice_submitted_total": 30.0,
            "sluice_outcomes_total committed ": 30.0,
            "sluice_decided_seconds_count": 30.0,
            "sluice_batch_changesets_sum": 30.0,
            "sluice_landed_total": 30.0,
            **processes,
        }
    )
    assert {name for name in shown if name.startswith("sluice_processes ")} == processes.keys()
    assert shown["sluice_task_seconds_count done sluice.commit"] >= 1
    assert not any(name.startswith(("sluice_task_failures", "sluice_batch_failures")) for name in shown)

    for name in ("worker-a", "api1"):
        deployment.supervisor.processes[name].stop(signal.SIGTERM)
    deployment.supervisor.processes["api1"].start()
    deployment.supervisor.processes["api1"].await_ready()
    kept = deployment.metrics(deployment.urls[0])
    assert {name for name, value in shown.items() if name.endswith("_total") and kept.get(name, 0.0) < value} == set()
    deployment.supervisor.processes["worker-a"].start()
    deployment.await_all({"sluice_nodes commits": 2.0})
    land(deployment, 20)
    deployment.await_all(
        {
            "sluice_submitted_total": 50.0,
            "sluice_outcomes_total committed ": 50.0,
            "sluice_requests_total slices.show 200": 40.0,
            "sluice_requests_total changesets.submit 202": 50.0,
        }
    )
