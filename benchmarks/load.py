"""The load generator: sends one run of changesets as fast as the API takes them. It runs in a process of its own.

All requests are made before the clock starts, and answers are taken apart after it, so that the generator costs the
machine little; its own CPU time is reported. Latencies are those of a sample: each of its changesets has a thread
with a connection of its own, opened before the clock starts, that asks by long poll for `committed` and then for
`landed`. Their time counts from before the request that carried the changeset.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

from benchmarks.client import Client, accepted, chunks
from benchmarks.figures import Disproved
from benchmarks.workload import Changeset

_POLL = 30  # seconds of a long poll
# What a sampled changeset's thread waits for: its id, and when its request began.
_Sampled = Future[tuple[str, float]]


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
    sample: int = 100
    seconds: float = 300.0  # after which the run has failed


@dataclass(frozen=True)
class Outcome:
    """What came of it. Times are in seconds."""

    landed: int
    seconds: float  # from the first request until all have landed
    accept_seconds: float  # from the first request until the last 202
    latencies: dict[str, list[float]]  # accepted, committed, landed
    waited: int  # answers 429 and 503; to the senders and to those who wait
    cpu_seconds: float  # of the generator


@dataclass(frozen=True)
class _Request:
    path: str
    body: bytes
    sampled: tuple[tuple[int, _Sampled], ...]  # which of its changesets are in the sample, and who waits for each


@dataclass
class _Sent:
    """What the clients brought back."""

    answers: list[bytes] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)


def generate(job: Job) -> Outcome:
    """Do the job in another process. Raises Refused and Disproved."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(run, job).result()


def run(job: Job) -> Outcome:
    """Do the job here."""
    requests = _requests(job)
    promises = [promise for request in requests for _, promise in request.sampled]
    main, senders, waiters = [[_connected(job) for _ in range(count)] for count in (1, job.clients, len(promises))]
    todo, sent = deque(requests), _Sent()
    with ThreadPoolExecutor(job.clients + len(promises)) as pool:
        waits = [pool.submit(_wait, client, promise) for client, promise in zip(waiters, promises, strict=True)]
        cpu, started = time.process_time(), time.perf_counter()
        sending = [pool.submit(_send, client, todo, sent, job.per_request) for client in senders]
        try:
            for future in sending:
                future.result()
        except BaseException:
            for promise in promises:
                promise.cancel()
            raise
        accept_seconds = time.perf_counter() - started
        ids = _ids(sent.answers, job.per_request)
        # Before anything is awaited: with one id for two changesets, one of them never lands.
        if (different := len({changeset for _, changeset in ids})) != len(job.changesets):
            raise Disproved(f"{len(job.changesets)} changesets were sent, and {different} different ids came back")
        for last in _last_of_slices(ids):
            main[0].get(f"/v1/changesets/{last}?wait={_POLL}&until=landed")
        main[0].await_tree(job.expected, job.seconds)
        seconds = time.perf_counter() - started
        cpu = time.process_time() - cpu
        times = [wait.result() for wait in waits]
    everyone = [*main, *senders, *waiters]
    waited = sum(client.waited for client in everyone)
    for client in everyone:
        client.close()
    latencies = {"accepted": sent.latencies, "committed": [a for a, _ in times], "landed": [b for _, b in times]}
    return Outcome(len(ids), seconds, accept_seconds, latencies, waited, cpu)


def _connected(job: Job) -> Client:
    client = Client(job.host, job.port)
    client.connect()
    return client


def _requests(job: Job) -> list[_Request]:
    """Make all requests; the sample is spread evenly over them."""
    made: list[_Request] = []
    step = max(1, len(job.changesets) // job.sample) if job.sample else len(job.changesets) + 1
    for at, group in enumerate(chunks(job.changesets, job.per_request)):
        first = at * job.per_request
        sampled = tuple((i, _Sampled()) for i in range(len(group)) if (first + i + 1) % step == 0)
        values = [_value(changeset, job.base) for changeset in group]
        if job.per_request == 1:
            path, body = f"/v1/slices/{values[0].pop('slice')}/changesets", json.dumps(values[0])
        else:
            path, body = "/v1/changesets", json.dumps({"changesets": values})
        made.append(_Request(path, body.encode(), sampled))
    return made


def _value(changeset: Changeset, base: str) -> dict[str, Any]:
    puts = [{"op": "put", "path": path, "content": content.decode()} for path, content in changeset.files]
    return {"slice": changeset.slice, "base": base, "message": changeset.message, "changes": puts}


def _send(client: Client, todo: deque[_Request], sent: _Sent, per_request: int) -> None:
    """Send what is to do, one request after the other; lists and deques need no lock."""
    while True:
        try:
            request = todo.popleft()
        except IndexError:
            return
        started = time.perf_counter()
        answer = client.send(request.path, request.body)
        sent.latencies.append(time.perf_counter() - started)
        sent.answers.append(answer)
        if request.sampled:
            ids = _ids([answer], per_request)
            for position, promise in request.sampled:
                promise.set_result((ids[position][1], started))


def _wait(client: Client, promise: _Sampled) -> tuple[float, float]:
    """Return the seconds from a changeset's request until it was committed, and until it had landed."""
    changeset, started = promise.result()
    times = []
    for until, final in (("committed", {"committed", "landed"}), ("landed", {"landed"})):
        while (now := client.get(f"/v1/changesets/{changeset}?wait={_POLL}&until={until}"))["status"] not in final:
            if now["status"] != "queued" and now["status"] != "committed":
                raise Disproved(f"a changeset that nothing is in the way of became {now}")
        times.append(time.perf_counter() - started)
    return times[0], times[1]


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
