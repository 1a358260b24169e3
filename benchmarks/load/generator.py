"""One run of changesets, sent as fast as the API takes them or at a steady pace, until all have landed.

All requests are made before the clock starts, and answers are taken apart after the last one, so that the generator
costs the machine little; its own CPU time is reported. Latencies are those of a sample: each of its changesets has a
connection of its own, opened before the clock starts, that asks by long poll for `committed` and then for `landed`.
Their time counts from before the request that carried the changeset; at a steady pace from when it was due, however
late a client was free to send it.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from benchmarks.client import ASK_EVERY, accepted, chunks
from benchmarks.figures import Disproved
from benchmarks.load.loop import Loop, Script
from benchmarks.load.requests import POLL, Asker, get, post
from benchmarks.workload import Changeset


@dataclass(frozen=True)
class Job:
    """What to send, and what must come of it."""

    host: str
    port: int
    base: str  # the commit that all writers saw
    expected: str  # the tree of the global head when all have landed
    clients: int
    per_request: int  # 1: each changeset in a request of its own, to its slice
    changesets: Sequence[Changeset]
    sample: int = 100  # changesets whose latency is measured
    seconds: float = 300.0  # after which the run has failed
    rate: float | None = None  # changesets a second that are due; None: the next request follows the answer
    until_landed: bool = False  # the next request follows when the changeset before has landed
    token: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of it. Times are in seconds."""

    landed: int
    seconds: float  # from the first request until all have landed
    accept_seconds: float  # from the first request until the last 202
    latencies: dict[str, list[float]]  # accepted, committed, landed
    waited: int  # answers 429 and 503; to the senders and to those who wait
    cpu_seconds: float  # of the generator
    late: float = 0.0  # the longest time by which a request was sent later than it was due


@dataclass(frozen=True)
class Request:
    """A request as it goes over the wire."""

    data: bytes
    due: float  # seconds after the start
    sampled: tuple[int, ...]  # which of its changesets are in the sample


def generate(job: Job) -> Outcome:
    """Do the job in another process. Raises Refused and Disproved."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(run, job).result()


def run(job: Job) -> Outcome:
    """Do the job here."""
    return _Run(job).run()


class _Run:
    def __init__(self, job: Job) -> None:
        self._job = job
        requests = plan(job)
        watchers = 0 if job.until_landed else sum(len(request.sampled) for request in requests)
        self._todo = deque(requests)
        self._sending = job.clients
        self._asker = Asker(token=job.token)
        self._answers: list[bytes] = []
        self._accepted: list[float] = []
        self._times: list[tuple[float, float]] = []  # to committed and to landed
        self._late = 0.0
        self._landed = 0
        self._cpu = self._started = self._accept_seconds = self._seconds = 0.0
        self._loop = Loop(job.host, job.port, job.clients + watchers + 1)

    def run(self) -> Outcome:
        with self._loop as loop:
            self._cpu, self._started = time.process_time(), time.perf_counter()
            for _ in range(self._job.clients):
                loop.start(self._client())
            # A little longer than it has: what is missing at the end says more than who waits for it.
            loop.run(self._job.seconds + 2 * POLL)
        latencies = {
            "accepted": self._accepted,
            "committed": [committed for committed, _ in self._times],
            "landed": [landed for _, landed in self._times],
        }
        return Outcome(
            self._landed,
            self._seconds,
            self._accept_seconds,
            latencies,
            self._asker.waited,
            self._cpu,
            self._late,
        )

    def _client(self) -> Script:
        """Send what is to do, one request after the other; the last client to end starts the end."""
        while self._todo:
            request = self._todo.popleft()
            started = time.perf_counter()
            if self._job.rate is not None:
                due = self._started + request.due
                if due > started:
                    yield due - started
                self._late = max(self._late, time.perf_counter() - due)
                started = due
            answer = yield from self._asker.ask(request.data)
            self._accepted.append(time.perf_counter() - started)
            self._answers.append(answer)
            if request.sampled:
                ids = [changeset for _, changeset in _ids([answer], self._job.per_request)]
                for position in request.sampled:
                    watch = self._watch(ids[position], started)
                    if self._job.until_landed:
                        yield from watch
                    else:
                        self._loop.start(watch)
        self._sending -= 1
        if not self._sending:
            self._accept_seconds = time.perf_counter() - self._started
            self._loop.start(self._finish())

    def _watch(self, changeset: str, started: float) -> Script:
        """Note the seconds from a changeset's request until it was committed, and until it had landed."""
        times = []
        for until in ("committed", "landed"):
            found = yield from self._asker.settle(changeset, until)
            if found["status"] not in {until, "landed"}:
                raise Disproved(f"a changeset that nothing is in the way of became {found}")
            times.append(time.perf_counter() - started)
        self._times.append((times[0], times[1]))

    def _finish(self) -> Script:
        """Wait until all that was accepted has landed."""
        ids = _ids(self._answers, self._job.per_request)
        # Before anything is awaited: with one id for two changesets, one of them never lands.
        if (different := len({changeset for _, changeset in ids})) != len(self._job.changesets):
            raise Disproved(
                f"{len(self._job.changesets)} changesets were sent, and {different} different ids came back"
            )
        for last in _last_of_slices(ids):
            yield from self._asker.settle(last, "landed")
        ask = get("/v1/head", self._job.token)
        while (head := json.loads((yield from self._asker.ask(ask))))["main"]["tree"] != self._job.expected:
            if time.perf_counter() - self._started > self._job.seconds:
                raise Disproved(f"the tree must become {self._job.expected}; the head is {head}")
            yield ASK_EVERY
        self._landed = len(ids)
        self._seconds = time.perf_counter() - self._started
        self._cpu = time.process_time() - self._cpu


def plan(job: Job) -> list[Request]:
    """Make all requests; the sample is spread evenly over them."""
    made: list[Request] = []
    step = max(1, len(job.changesets) // job.sample) if job.sample else len(job.changesets) + 1
    if job.until_landed:
        step = 1
    for at, group in enumerate(chunks(job.changesets, job.per_request)):
        first = at * job.per_request
        sampled = tuple(i for i in range(len(group)) if (first + i + 1) % step == 0)
        values = [value_of(changeset, job.base) for changeset in group]
        if job.per_request == 1:
            data = post(f"/v1/slices/{values[0].pop('slice')}/changesets", values[0], job.token)
        else:
            data = post("/v1/changesets", {"changesets": values}, job.token)
        made.append(Request(data, first / job.rate if job.rate else 0.0, sampled))
    return made


def value_of(changeset: Changeset, base: str) -> dict[str, Any]:
    """Return the JSON of a changeset, with its slice."""
    puts = [{"op": "put", "path": path, "content": content.decode()} for path, content in changeset.files]
    return {"slice": changeset.slice, "base": base, "message": changeset.message, "changes": puts}


def _ids(answers: Sequence[bytes], per_request: int) -> list[tuple[str, str]]:
    """Return the slice and the id of each changeset of these answers."""
    values = [json.loads(answer) for answer in answers]
    changesets = values if per_request == 1 else [changeset for value in values for changeset in accepted(value)]
    return [(changeset["slice"], changeset["id"]) for changeset in changesets]


def _last_of_slices(ids: Sequence[tuple[str, str]]) -> list[str]:
    """Return the newest changeset of each slice: slices commit in the order of ids."""
    last: dict[str, str] = {}
    for where, changeset in ids:
        last[where] = max(changeset, last.get(where, ""))
    return sorted(last.values())
