"""Sluice end to end: changesets over HTTP to a stack of its own, until the global head has the tree it must have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.stack.stack import Stack
from benchmarks import load, observe
from benchmarks.client import Client, set_up
from benchmarks.figures import Disproved, Figure, percentiles, rounded
from benchmarks.repos import Judge
from benchmarks.workload import Changeset, Workload

Say = Callable[[str], None]


@dataclass(frozen=True)
class Phase:
    """A way to send changesets."""

    name: str
    clients: int
    per_request: int
    count: int  # changesets a round

    @property
    def axis(self) -> str:
        """What distinguishes this phase."""
        size = "1 changeset" if self.per_request == 1 else f"{self.per_request} changesets"
        return f"{self.clients} clients, {size} a request"


PHASES = (
    Phase("sluice, bulk", 4, 500, 5000),
    Phase("sluice, 16 clients", 16, 1, 3000),
    Phase("sluice, 64 clients", 64, 1, 3000),
)
QUICK = (
    Phase("sluice, bulk", 4, 250, 1000),
    Phase("sluice, 16 clients", 16, 1, 500),
    Phase("sluice, 64 clients", 64, 1, 500),
)


@dataclass
class Site:
    """A running stack that holds a workload, and the judge of what must become of it."""

    stack: Stack
    client: Client
    judge: Judge

    def land(self, phase: Phase, changesets: Sequence[Changeset]) -> tuple[load.Outcome, dict[str, Any]]:
        """Land changesets and return what came of it, with what the server spent. Raises Refused and Disproved."""
        head = self.client.get("/v1/head")
        host, port = address(self.stack)
        expected = self.judge.land(changesets)
        job = load.Job(host, port, head["main"]["commit"], expected, phase.clients, phase.per_request, changesets)
        before = observe.cpu_seconds(self.stack)
        outcome = load.generate(job)
        cpu = observe.cpu_between(before, observe.cpu_seconds(self.stack), outcome.landed)
        merged = self.client.landed_since(head["applied"])
        if merged != outcome.landed:
            raise Disproved(f"{outcome.landed} changesets were accepted, and the global commits merged {merged}")
        return outcome, {"cpu_us": cpu, **observe.stages(self.stack, head["applied"])}


@contextmanager
def site(workload: Workload, folder: Path, say: Say, **options: Any) -> Iterator[Site]:
    """Start a stack (options as Stack's) and import the workload."""
    say(f"importing {workload.files:,} files")
    judge = Judge(folder, workload)
    with Stack(**options) as stack:
        client = Client(*address(stack))
        set_up(client, workload, judge.tree)
        yield Site(stack, client, judge)
        client.close()


def address(stack: Stack) -> tuple[str, int]:
    """Return the host and port of a stack's API."""
    host, port = stack.url.removeprefix("http://").rsplit(":", 1)
    return host, int(port)


def run(
    workload: Workload, folder: Path, say: Say, *, phases: Sequence[Phase] = PHASES, rounds: int = 3, s3: str = "auto"
) -> list[Figure]:
    """Measure each phase in rounds, one after the other on one stack; every round changes files again."""
    figures = []
    with site(workload, folder / "judge.git", say, s3=s3) as bench:
        for number, phase in enumerate(phases):
            measured = []
            for i in range(rounds):
                say(f"{phase.name}: round {i + 1} of {rounds}")
                changesets = list(workload.changesets(phase.count, run=number * rounds + i))
                measured.append(bench.land(phase, changesets))
            figures.append(_figure(phase, workload, measured, bench.stack.s3_kind))
    return figures


def _figure(
    phase: Phase, workload: Workload, measured: Sequence[tuple[load.Outcome, dict[str, Any]]], s3: str
) -> Figure:
    outcomes = [outcome for outcome, _ in measured]
    landed = sum(outcome.landed for outcome in outcomes)
    latencies = {
        name: percentiles([value for outcome in outcomes for value in outcome.latencies[name]])
        for name in ("accepted", "committed", "landed")
    }
    details = {
        "s3": s3,
        "landed": landed,
        "accepted_per_s": rounded(landed / sum(outcome.accept_seconds for outcome in outcomes)),
        "latency_ms": latencies,
        "latency_sample": sum(len(outcome.latencies["landed"]) for outcome in outcomes),
        "waited": sum(outcome.waited for outcome in outcomes),
        "generator_cpu_us": round(1e6 * sum(outcome.cpu_seconds for outcome in outcomes) / landed),
        "server": [server for _, server in measured],
    }
    rates = tuple(outcome.landed / outcome.seconds for outcome in outcomes)
    return Figure(phase.name, phase.axis, "landed/s", workload.seed, rates, details)
