"""The agents: each submits a change, waits until it has landed, resolves it if it conflicted, and takes the next one.

All in one thread of a process of their own, as the load generator is.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

from app.demo.contend import both_sides
from benchmarks.contention.plan import Change, Contest, Result
from benchmarks.figures import Disproved
from benchmarks.load.loop import Loop, Script
from benchmarks.load.requests import Asker, get, post

# Nobody but the agents writes, so that one resolution is enough.
_MOST = 5


@dataclass(frozen=True)
class Job:
    """What the agents do."""

    host: str
    port: int
    base: str  # the commit that all of them saw
    contest: Contest
    resolving: bool
    seconds: float = 300.0  # after which the run has failed


@dataclass
class Report:
    """What came of it."""

    results: list[Result] = field(default_factory=list)
    seconds: float = 0.0
    waited: int = 0  # answers 429 and 503
    cpu_seconds: float = 0.0  # of the agents


def contend(job: Job) -> Report:
    """Have the agents do it, in another process. Raises Refused and Disproved."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(run, job).result()


def run(job: Job) -> Report:
    """Have the agents do it here."""
    report, asker = Report(), Asker()
    todo = [
        [(change, _request(change, job.base)) for change in job.contest.of_agent(i)] for i in range(job.contest.agents)
    ]
    with Loop(job.host, job.port, job.contest.agents) as loop:
        cpu, started = time.process_time(), time.perf_counter()
        for changes in todo:
            loop.start(_agent(changes, asker, job.resolving, report))
        loop.run(job.seconds)
        report.seconds, report.cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    report.waited = asker.waited
    return report


def _request(change: Change, base: str) -> bytes:
    puts = [{"op": "put", "path": path, "content": content.decode()} for path, content in change.files]
    value = {"base": base, "message": change.message, "changes": puts}
    return post(f"/v1/slices/{change.slice}/changesets", value)


def _agent(todo: list[tuple[Change, bytes]], asker: Asker, resolving: bool, report: Report) -> Script:
    for change, request in todo:
        started, attempts, conflicts = time.perf_counter(), 1, 0
        made = json.loads((yield from asker.ask(request)))
        while True:
            found = yield from asker.settle(made["id"], "landed")
            if found["status"] != "conflicted":
                break
            conflicts += 1
            if not resolving or attempts == _MOST:
                break
            answer = yield from asker.ask(get(f"/v1/changesets/{made['id']}/conflicts"))
            resolution = post(f"/v1/changesets/{made['id']}/resolve", {"paths": resolve(change, answer)})
            made = json.loads((yield from asker.ask(resolution)))
            attempts += 1
        seconds = time.perf_counter() - started
        report.results.append(Result(change.number, found["status"], attempts, conflicts, seconds))


def resolve(change: Change, answer: bytes) -> dict[str, dict[str, str]]:
    """Return the paths of a resolution that keeps both sides' lines. Raises Disproved for another conflict."""
    conflicts = json.loads(answer)["items"]
    shown = [(conflict["path"], conflict["class"]) for conflict in conflicts]
    if shown != [(path, "content") for path, _ in change.files]:
        raise Disproved(f"change {change.number} is of {[path for path, _ in change.files]}, and conflicts at {shown}")
    return {conflict["path"]: {"content": both_sides(conflict["marked"])} for conflict in conflicts}
