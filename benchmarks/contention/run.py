"""The curve of contention: so many agents, on a stack of their own, and by `git push` on one branch beside it.

Three kinds of contests: all changes disjoint; a fifth of them planned conflicts that stay; and the same with agents who
resolve what conflicted. What has to become of every change is known, and is proved before it has a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contention.agents import Job, Report, contend
from benchmarks.contention.plan import Contest, Files, Result, attempts, check, plan
from benchmarks.figures import Figure, percentiles, rounded
from benchmarks.landing import Say, Site, address, site
from benchmarks.peers.contended_push import pushers
from benchmarks.workload import Changeset, Workload

# Agents, and the changes of each.
AGENTS = {2: 50, 8: 50, 32: 30, 128: 7, 1000: 1}
QUICK = {2: 5, 8: 5, 32: 5, 128: 5, 1000: 1}
WORKLOAD = Workload(files=2_000, width=20)
# More agents than this are not raced by `git push`: each has a clone with a working tree, and runs Git all the time.
PUSHERS = 128


@dataclass(frozen=True)
class Kind:
    """A kind of contest."""

    name: str
    collide: bool
    resolving: bool


KINDS = (Kind("disjoint", False, False), Kind("conflicts", True, False), Kind("resolver", True, True))
_PATIENCE = 120.0


@dataclass
class _Rows:
    """The rounds of one contest."""

    agents: int
    changes: int
    results: list[list[Result]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    more: list[dict[str, Any]] = field(default_factory=list)

    def figure(self, name: str, axis: str, seed: int) -> Figure:
        """Return the figure of all rounds."""
        everything = [result for results in self.results for result in results]
        landed = [result for result in everything if result.status == "landed"]
        tried = [result for result in everything if result.attempts]
        details: dict[str, Any] = {
            "agents": self.agents,
            "changes": self.changes,
            "landed_share": rounded(len(landed) / len(everything)),
            "attempts_a_change": rounded(attempts(tried)) if tried else 0.0,
            "conflicted": sum(result.conflicts > 0 for result in everything),
            "landed_ms": percentiles([result.seconds for result in landed]),
        }
        for which in {name: None for row in self.more for name in row}:
            details[which] = sum(row[which] for row in self.more)
        rates = tuple(
            sum(result.status == "landed" for result in results) / spent
            for results, spent in zip(self.results, self.seconds, strict=True)
        )
        return Figure(name, axis, "landed/s", seed, rates, details)


def run(
    folder: Path,
    say: Say,
    *,
    workload: Workload = WORKLOAD,
    agents: Mapping[int, int] = AGENTS,
    pushing: int = PUSHERS,
    seconds: float = 20.0,
    rounds: int = 3,
    s3: str = "auto",
) -> list[Figure]:
    """Hold every contest in rounds, and that of at most `pushing` agents by `git push`, once, for so many seconds.

    Raises Refused, and Disproved where anything became of a change but what was planned.
    """
    rows: dict[tuple[str, str, int], _Rows] = {}
    runs = itertools.count()
    raced = [number for number in agents if number <= pushing]
    say(f"cloning for {max(raced, default=0)} agents who push")
    with (
        site(workload, folder / "contention.git", say, s3=s3, with_flower=False) as bench,
        pushers(workload, folder, max(raced, default=0)) as peers,
    ):
        for turn, (number, each), kind in itertools.product(range(rounds), agents.items(), KINDS):
            say(f"{number:,} agents, {kind.name}: round {turn + 1} of {rounds}")
            contest = plan(workload, number, each, next(runs), kind.collide)
            kept = rows.setdefault(("sluice", kind.name, number), _Rows(number, number * each))
            report = hold(bench, contest, kind.resolving)
            kept.results.append(report.results)
            kept.seconds.append(report.seconds)
            kept.more.append({"waited": report.waited, "generator_cpu_s": report.cpu_seconds})
            if not turn and number in raced:
                say(f"{number:,} agents, {kind.name}: git push, for {seconds:g} seconds")
                raced_rows = rows.setdefault(("git push", kind.name, number), _Rows(number, number * each))
                results, spent = peers.contend(contest, kind.resolving, seconds)
                raced_rows.results.append(results)
                raced_rows.seconds.append(spent)
    return list(_figures(rows, workload.seed))


def _figures(rows: Mapping[tuple[str, str, int], _Rows], seed: int) -> Iterator[Figure]:
    for (who, kind, agents), kept in rows.items():
        yield kept.figure(f"{who}, {agents:,} agents, {kind}", f"{agents:,} agents", seed)


def hold(bench: Site, contest: Contest, resolving: bool) -> Report:
    """Hold one contest. Raises Refused and Disproved."""
    _put(bench, contest.base, "Begin")
    base = bench.client.get("/v1/head")["main"]["commit"]
    _put(bench, contest.rival, "Rival")
    report = contend(Job(*address(bench.stack), base, contest, resolving))
    landed = check(contest, report.results, resolving)
    files = [Changeset(change.number, change.slice, "", change.landed) for change in landed]
    bench.client.await_tree(bench.judge.land(files), _PATIENCE)
    return report


def _put(bench: Site, files: Files, message: str) -> None:
    """Land files in one changeset of the slice that holds everything, where there are any."""
    if not files:
        return
    base = bench.client.get("/v1/head")["main"]["commit"]
    changes = [{"op": "put", "path": path, "content": content.decode()} for path, content in files]
    bench.client.post("/v1/slices/everything/changesets", {"base": base, "message": message, "changes": changes})
    bench.client.await_tree(bench.judge.land([Changeset(0, "everything", message, tuple(files))]), _PATIENCE)
