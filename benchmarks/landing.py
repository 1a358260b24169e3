"""Sluice end to end: changesets over HTTP to a stack of its own, until the global head has the tree it must have.

Every round measures `git fast-import` and then every phase, so that what the machine does else meets all of them; the
order of the phases alternates. A ratio is of one round.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.stack.stack import Stack
from benchmarks import observe
from benchmarks.client import Client, Import, set_up
from benchmarks.figures import Disproved, Figure, at_least, at_most, percentiles, rounded
from benchmarks.load.generator import Job, Outcome, generate
from benchmarks.peers import git_fast_import
from benchmarks.repos import Judge, Repo
from benchmarks.store import Store, created
from benchmarks.workload import Changeset, Workload

Say = Callable[[str], None]

YARDSTICK = "git fast-import, in turns"
# A phase at half load: so many seconds at half of the rate that the phase before it had. Its sample is larger, for the
# p99, but a small part of all: whoever is in it asks twice more.
_HALF_SECONDS, _HALF_SAMPLED, _HALF_GOAL = 10.0, 5, 4.0
# PUTs to the store that are timed, and changesets whose objects are counted: so few that no compaction is due.
_PUTS, _COUNTED = 50, 30
_COUNTING_TRIES = 5
# Files of an import between two lines that say how far it is.
_SHOW_EVERY = 50_000


@dataclass(frozen=True)
class Phase:
    """A way to send changesets."""

    name: str
    clients: int
    per_request: int
    count: int  # changesets a round
    goal: tuple[float, float] | None = None  # times `git fast-import`: what is aimed at, and the floor
    until_landed: bool = False  # each client waits until its changeset has landed
    half_load: bool = False  # followed by the same at half of its rate
    sample: int = 100  # changesets whose latency is measured
    rate: float | None = None  # changesets a second that are due

    @property
    def axis(self) -> str:
        """What distinguishes this phase."""
        size = "1 changeset" if self.per_request == 1 else f"{self.per_request} changesets"
        clients = "1 client" if self.clients == 1 else f"{self.clients:,} clients"
        return f"{clients}, {size} a request"

    def at_half(self, rate: float) -> Phase:
        """Return this phase at half of a rate that it had."""
        count = max(1, min(self.count, round(rate / 2 * _HALF_SECONDS)))
        sample = max(self.sample, count // _HALF_SAMPLED)
        name = f"{self.name}, half load"
        return dataclasses.replace(
            self, name=name, count=count, goal=None, half_load=False, sample=sample, rate=rate / 2
        )


# By the name that chooses them.
PHASES = {
    "bulk": Phase("sluice, bulk", 4, 500, 5000, goal=(2.0, 1.6)),
    "alone": Phase("sluice, alone", 1, 1, 200, until_landed=True),
    "1": Phase("sluice, 1 client", 1, 1, 1000),
    "16": Phase("sluice, 16 clients", 16, 1, 3000),
    "64": Phase("sluice, 64 clients", 64, 1, 3000, goal=(0.8, 0.6)),
    "200": Phase("sluice, 200 clients", 200, 1, 5000, goal=(1.0, 0.75), half_load=True),
    "1000": Phase("sluice, 1,000 clients", 1000, 1, 5000, goal=(0.8, 0.6)),
}
_QUICK_COUNTS = {"bulk": 1000, "alone": 20, "1": 100, "16": 500, "64": 500, "200": 600, "1000": 1000}
QUICK = {
    name: dataclasses.replace(phase, count=_QUICK_COUNTS[name], per_request=250 if name == "bulk" else 1)
    for name, phase in PHASES.items()
}


@dataclass
class Site:
    """A running stack that holds a workload, and the judge of what must become of it."""

    stack: Stack
    client: Client
    judge: Judge
    token: str | None = None  # that changesets are sent with

    def land(self, phase: Phase, changesets: Sequence[Changeset]) -> tuple[Outcome, dict[str, Any]]:
        """Land changesets and return what came of it, with what the server spent. Raises Refused and Disproved."""
        head = self.client.get("/v1/head")
        expected = self.judge.land(changesets)
        job = Job(
            *address(self.stack),
            base=head["main"]["commit"],
            expected=expected,
            clients=phase.clients,
            per_request=phase.per_request,
            changesets=changesets,
            sample=phase.sample,
            rate=phase.rate,
            until_landed=phase.until_landed,
            token=self.token,
        )
        before = observe.cpu_seconds(self.stack)
        outcome = generate(job)
        cpu = observe.cpu_between(before, observe.cpu_seconds(self.stack), outcome.landed)
        merged = self.client.landed_since(head["applied"])
        if merged != outcome.landed:
            raise Disproved(f"{outcome.landed} changesets were accepted, and the global commits merged {merged}")
        return outcome, {"cpu_us": cpu, **observe.stages(self.stack, head["applied"])}

    def land_many(self, phase: Phase, workload: Workload, changesets: int, say: Say) -> int:
        """Land so many changesets or a few more, and return how many runs of the workload they are.

        No two changesets of a run share a file, so a run has at most one for two files. Raises Refused and Disproved.
        """
        count = min(phase.count, changesets, workload.files // 2)
        runs = -(-changesets // count)
        for number in range(runs):
            say(f"landing {changesets:,} changesets: {number * count:,} done")
            self.land(phase, list(workload.changesets(count, run=number)))
        return runs


@contextmanager
def site(
    workload: Workload,
    folder: Path,
    say: Say,
    *,
    how: Import = Import(),  # noqa: B008 - it is frozen
    **options: Any,
) -> Iterator[Site]:
    """Start a stack (options as Stack's) and import the workload."""
    with holding(Stack(**options), workload, folder, say, how) as bench:
        yield bench


@contextmanager
def holding(
    stack: Stack,
    workload: Workload,
    folder: Path,
    say: Say,
    how: Import = Import(),  # noqa: B008 - it is frozen
) -> Iterator[Site]:
    """Start this stack and import the workload."""
    say(f"importing {workload.files:,} files")
    judge = Judge(folder, workload)
    shown = 0

    def progress(sent: int) -> None:
        nonlocal shown
        if sent - shown >= _SHOW_EVERY:
            shown = sent
            say(f"importing {workload.files:,} files: {sent:,} sent")

    with stack, closing(Client(*address(stack), token=stack.token)) as client:
        set_up(client, workload, judge.tree, how, progress)
        yield Site(stack, client, judge)


def address(stack: Stack) -> tuple[str, int]:
    """Return the host and port of a stack's API."""
    host, port = stack.url.removeprefix("http://").rsplit(":", 1)
    return host, int(port)


@dataclass
class _Measured:
    """The rounds of one phase."""

    phase: Phase
    outcomes: list[Outcome] = field(default_factory=list)
    servers: list[dict[str, Any]] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)  # to the yardstick of the same round
    stores: list[dict[str, Any]] = field(default_factory=list)  # what the store was seen to do around it

    @property
    def rates(self) -> tuple[float, ...]:
        return tuple(outcome.landed / outcome.seconds for outcome in self.outcomes)


def run(
    workload: Workload,
    folder: Path,
    say: Say,
    *,
    phases: Sequence[Phase] = tuple(PHASES.values()),
    rounds: int = 3,
    imported: int = 5000,
    s3: str = "auto",
) -> list[Figure]:
    """Measure the phases in rounds on one stack; every run changes files again. Raises Refused and Disproved."""
    seed_repo = Repo.create(folder / "yardstick.git", workload)
    yardstick: list[float] = []
    measured: dict[str, _Measured] = {}
    numbers = itertools.count()

    def land(bench: Site, phase: Phase) -> float:
        rows = measured.setdefault(phase.name, _Measured(phase))
        say(f"{phase.name}: round {len(yardstick)} of {rounds}")
        outcome, server = bench.land(phase, list(workload.changesets(phase.count, run=next(numbers))))
        rows.outcomes.append(outcome)
        rows.servers.append(server)
        rows.ratios.append(rows.rates[-1] / yardstick[-1])
        return rows.rates[-1]

    with site(workload, folder / "judge.git", say, s3=s3) as bench:
        for number in range(rounds):
            say(f"git fast-import: round {number + 1} of {rounds}")
            yardstick.append(git_fast_import.measure(seed_repo, folder, workload, count=imported))
            for phase in phases[:: -1 if number % 2 else 1]:
                rate = land(bench, phase)
                if phase.half_load:
                    land(bench, phase.at_half(rate))
                if phase.until_landed:
                    say(f"{phase.name}: PUTs")
                    measured[phase.name].stores.append(_puts(bench, phase, workload, numbers))
        kind = bench.stack.s3_kind
    figures = [Figure(YARDSTICK, "one stream", "landed/s", workload.seed, tuple(yardstick), {"landed": imported})]
    for rows in measured.values():
        figures.append(_figure(rows, workload, kind))
    for rows in measured.values():
        figures += _ratios(rows, workload)
    return figures


def _puts(bench: Site, phase: Phase, workload: Workload, numbers: Iterator[int]) -> dict[str, Any]:
    """Time PUTs to the store while nothing else runs, and count the objects of some changesets that come alone."""
    store = Store.of(bench.stack)
    took = store.put_seconds(_PUTS)
    for _ in range(_COUNTING_TRIES):
        before = store.objects()
        bench.land(phase, list(workload.changesets(_COUNTED, run=next(numbers))))
        counts = created(before, store.objects(), _COUNTED)
        if counts:
            return {"put_ms": percentiles(took), "puts_a_changeset": counts}
    raise Disproved("objects were deleted each time that those of some changesets were counted")


# --- Figures ----------------------------------------------------------------------------------------------------------


def _figure(rows: _Measured, workload: Workload, s3: str) -> Figure:
    outcomes = rows.outcomes
    landed = sum(outcome.landed for outcome in outcomes)
    details: dict[str, Any] = {
        "s3": s3,
        "landed": landed,
        "accepted_per_s": rounded(landed / sum(outcome.accept_seconds for outcome in outcomes)),
        "latency_ms": {name: percentiles(latencies(outcomes, name)) for name in ("accepted", "committed", "landed")},
        "latency_sample": len(latencies(outcomes, "landed")),
        "waited": sum(outcome.waited for outcome in outcomes),
        "generator_cpu_us": round(1e6 * sum(outcome.cpu_seconds for outcome in outcomes) / landed),
        "server": rows.servers,
    }
    if rows.phase.rate is not None:
        details["late_ms"] = rounded(1000 * max(outcome.late for outcome in outcomes))
    if rows.stores:
        details["store"] = rows.stores
    return Figure(rows.phase.name, rows.phase.axis, "landed/s", workload.seed, rows.rates, details)


def _ratios(rows: _Measured, workload: Workload) -> Iterator[Figure]:
    """Yield what is asked of a phase, as ratios."""
    phase, name, seed = rows.phase, rows.phase.name, workload.seed
    if phase.rate is not None:
        spreads = tuple(spread([outcome]) for outcome in rows.outcomes)
        axis = "p99 to landed, to p50"
        yield Figure(f"{name}, p99", axis, "ratio", seed, spreads, at_most(_HALF_GOAL))
        return
    details = at_least(*phase.goal) if phase.goal else {}
    yield Figure(f"{name}, to fast-import", "landed/s, to git fast-import", "ratio", seed, tuple(rows.ratios), details)
    if rows.stores:
        pairs = zip(rows.outcomes, rows.stores, strict=True)
        waits = tuple(
            percentiles(latencies([outcome], "landed"))["p50"] / store["put_ms"]["p50"] for outcome, store in pairs
        )
        put = statistics.median(store["put_ms"]["p50"] for store in rows.stores)
        axis = f"p50 to landed, to the p50 of a PUT to the store ({put:g} ms)"
        yield Figure(f"{name}, in PUTs", axis, "ratio", seed, waits)
        made = tuple(store["puts_a_changeset"]["all"] for store in rows.stores)
        folders = {name: count for name, count in rows.stores[-1]["puts_a_changeset"].items() if name != "all"}
        axis = "objects a changeset: " + ", ".join(f"{folder} {count:g}" for folder, count in folders.items())
        yield Figure(f"{name}, PUTs", axis, "objects", seed, made)


def latencies(outcomes: Sequence[Outcome], name: str) -> list[float]:
    """Return the latencies of all outcomes, in seconds."""
    return [value for outcome in outcomes for value in outcome.latencies[name]]


def spread(outcomes: Sequence[Outcome]) -> float:
    """Return how many times the p50 to landed the p99 is."""
    found = percentiles(latencies(outcomes, "landed"))
    return found["p99"] / found["p50"]
