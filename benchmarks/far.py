"""Landing with a store that is far away: so many milliseconds are added to each S3 request by toxiproxy.

One stack whose processes reach the S3 server through a proxy. Each round measures every phase without added latency
first, through the same proxy, and then with each latency. What a rate can be is the smaller of the rate without latency
and of clients ÷ latency, since no client gets its answer before one PUT: its ratio to that is the figure.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.stack.processes import Command
from app.stack.stack import Stack
from benchmarks.figures import Figure, at_least, at_most, percentiles, rounded
from benchmarks.landing import PHASES, Phase, Say, Site, holding, latencies
from benchmarks.load.generator import Outcome
from benchmarks.toxiproxy import Proxy, Toxiproxy, toxiproxy_server
from benchmarks.workload import Workload

LATENCIES = (0, 30, 180)  # milliseconds
# Seconds that a phase should take; less, and what its end takes weighs more than it does.
SECONDS = 15.0
# Of what is possible, and of store latencies: asked of the phases below where the store is farthest.
_GOAL, _GOAL_PHASES = 0.8, ("bulk", "200", "1000")
_WAIT_GOAL, _WAIT_PHASES = 6.0, ("alone", "1")
# A changeset that comes alone waits for about so many requests to the store, one after another.
_ALONE = 6
_THROUGH = ("api", "worker", "merger")


class FarStack(Stack):
    """A stack whose processes reach S3 by `proxy`."""

    proxy: Proxy

    def __init__(self, program: str, **options: Any) -> None:
        """`program` is toxiproxy's; options as Stack's."""
        super().__init__(**options)
        self._program = program

    def add_latency(self, milliseconds: int) -> None:
        """Have each answer of S3 come so much later from now on, instead of what was added before."""
        self.proxy.heal()
        if milliseconds:
            self.proxy.add("latency", latency=milliseconds)

    def _own_commands(self) -> list[Command]:
        # S3 runs by now, and nobody else does.
        assert self._supervisor
        server = toxiproxy_server(self._program, self.data)
        self._supervisor.start(server.command)
        address = urlsplit(self.settings.endpoints[0]).netloc
        self.proxy = Toxiproxy(server.settings["api"]).proxy("s3", address)
        return super()._own_commands()

    def _command(self, name: str, argv: list[str], *others: Any, **options: Any) -> Command:
        made = super()._command(name, argv, *others, **options)
        more = {"SLUICE_S3_ENDPOINTS": f"http://{self.proxy.address}"} if name in _THROUGH else {}
        return dataclasses.replace(made, environ={**made.environ, **more})


@dataclasses.dataclass
class _Rows:
    """The rounds of one phase with one latency."""

    key: str
    phase: Phase
    milliseconds: int
    outcomes: list[Outcome] = dataclasses.field(default_factory=list)
    ratios: list[float] = dataclasses.field(default_factory=list)  # to what was possible in the same round

    @property
    def name(self) -> str:
        return f"{self.milliseconds} ms, {self.phase.name.removeprefix('sluice, ')}"


def run(
    workload: Workload,
    folder: Path,
    say: Say,
    program: str,
    *,
    phases: Mapping[str, Phase] = PHASES,
    added: Sequence[int] = LATENCIES,
    rounds: int = 3,
    seconds: float = SECONDS,
    s3: str = "auto",
) -> list[Figure]:
    """Measure the phases with each latency, of which the first is 0. Raises Refused and Disproved."""
    rows: dict[tuple[int, str], _Rows] = {}
    numbers = itertools.count()

    def land(bench: Site, key: str, phase: Phase, milliseconds: int, number: int) -> Outcome:
        kept = rows.setdefault((milliseconds, phase.name), _Rows(key, phase, milliseconds))
        say(f"{kept.name}: round {number + 1} of {rounds}, {phase.count:,} changesets")
        outcome, _ = bench.land(phase, list(workload.changesets(phase.count, run=next(numbers))))
        kept.outcomes.append(outcome)
        return outcome

    stack = FarStack(program, s3=s3, with_flower=False)
    with holding(stack, workload, folder / "far.git", say) as bench:
        for number in range(rounds):
            near: dict[str, float] = {}
            for milliseconds in added:
                stack.add_latency(milliseconds)
                for key, phase in phases.items():
                    planned = phase if not milliseconds else sized(phase, milliseconds / 1000, near[key], seconds)
                    outcome = land(bench, key, planned, milliseconds, number)
                    rate = outcome.landed / outcome.seconds
                    near.setdefault(key, rate)
                    if milliseconds:
                        bound = possible(phase, milliseconds / 1000, near[key])
                        rows[milliseconds, phase.name].ratios.append(rate / bound)
                    if milliseconds and phase.half_load:
                        land(bench, key, planned.at_half(rate), milliseconds, number)
        kind = stack.s3_kind
    ordered = [rows[key] for key in sorted(rows, key=lambda key: key[0])]  # a stable sort: by latency, else as measured
    return [_rate(each, workload, kind) for each in ordered] + [
        figure for each in ordered for figure in _ratios(each, workload, max(added))
    ]


def possible(phase: Phase, latency: float, near: float) -> float:
    """Return the rate that a phase can have at most, with a latency in seconds, where it has `near` without."""
    return min(near, phase.clients * phase.per_request / latency)


def sized(phase: Phase, latency: float, near: float, seconds: float) -> Phase:
    """Return the phase with as many changesets as should take so many seconds, but no more than it has, nor none."""
    bound = possible(phase, latency, near)
    if phase.until_landed:
        bound = min(bound, phase.clients / (_ALONE * latency))
    least = phase.clients * phase.per_request
    return dataclasses.replace(phase, count=min(phase.count, max(least, round(bound * seconds))))


def _rate(rows: _Rows, workload: Workload, s3: str) -> Figure:
    outcomes = rows.outcomes
    details = {
        "s3": s3,
        "added_ms": rows.milliseconds,
        "landed": sum(outcome.landed for outcome in outcomes),
        "latency_ms": {name: percentiles(latencies(outcomes, name)) for name in ("accepted", "committed", "landed")},
        "waited": sum(outcome.waited for outcome in outcomes),
        "late_ms": rounded(1000 * max(outcome.late for outcome in outcomes)),
    }
    rates = tuple(outcome.landed / outcome.seconds for outcome in outcomes)
    return Figure(rows.name, rows.phase.axis, "landed/s", workload.seed, rates, details)


def _ratios(rows: _Rows, workload: Workload, farthest: int) -> Iterator[Figure]:
    """Yield the ratio to what is possible, and the wait of whoever does not wait for others, in store latencies."""
    if not rows.milliseconds:
        return
    judged, half = rows.milliseconds == farthest, rows.phase.rate is not None
    if rows.ratios and not rows.phase.until_landed:
        details = at_least(_GOAL) if judged and rows.key in _GOAL_PHASES else {}
        axis = "landed/s, to the smaller of that at 0 ms and clients ÷ latency"
        yield Figure(f"{rows.name}, rate", axis, "ratio", workload.seed, tuple(rows.ratios), details)
    if half or rows.key in _WAIT_PHASES:
        waits = tuple(percentiles(outcome.latencies["landed"])["p50"] / rows.milliseconds for outcome in rows.outcomes)
        details = at_most(_WAIT_GOAL) if judged else {}
        axis = "p50 to landed, in store latencies"
        yield Figure(f"{rows.name}, wait", axis, "ratio", workload.seed, waits, details)
