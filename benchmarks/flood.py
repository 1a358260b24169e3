"""Whether one principal that floods keeps another waiting: how long one change takes to land, beside a flood and alone.

The flood queues some thousand changesets, and goes on with large and small requests as fast as it is let. Beside it a
writer lands one change at a time. It is measured alone; with the flood under its own principal, so that nothing tells
them apart (`without shares`); with the flood under another one (`turns`); and with quotas for that one (`quotas`).
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from app.stack.stack import Stack
from benchmarks.client import Refused
from benchmarks.figures import Figure, at_most, percentiles
from benchmarks.landing import Say, address

GOAL = 2.0
QUOTA = {"requests_per_second": 10, "queued": 32}
WRITER, FLOOD = "user:writer", "agent:flood"
_BULK = 200
_SINGLES = 4  # connections that send one changeset a request
_DIRECTORY = 100  # files of one directory, as in a code base
_PATIENCE = 300.0


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    ahead: int = 3_000  # changesets that the flood has sent before the writer begins
    changes: int = 200  # of the writer in each phase, at most
    seconds: float = 30.0  # after which a phase ends that is slow


QUICK = Plan(ahead=500, changes=10, seconds=5.0)


class Agent:
    """A connection to the API with a token."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=120)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, value: Any = None, **headers: str) -> tuple[int, float, Any]:
        """Return an answer's status, its Retry-After and its value."""
        body = None if value is None else json.dumps(value).encode()
        self._connection.request(method, path, body, {**self._headers, **headers})
        answer = self._connection.getresponse()
        return answer.status, float(answer.headers.get("Retry-After", 0)), json.loads(answer.read() or b"null")

    def get(self, method: str, path: str, value: Any = None, **headers: str) -> Any:
        """Return the value of an answer that is no refusal; 429 and 503 are obeyed. Raises Refused."""
        while True:
            status, wait, found = self.ask(method, path, value, **headers)
            if status < 300:
                return found
            if status not in {429, 503}:
                raise Refused(f"{method} {path}: {status} {found}")
            time.sleep(wait)

    def waiting(self) -> int:
        """Return how many changesets of its principal are queued or held."""
        [queued] = [row["used"] for row in self.get("GET", "/v1/limits")["quotas"] if row["name"] == "queued"]
        return int(queued)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def put(path: str) -> dict[str, Any]:
    """Return a changeset of one new file."""
    return {"message": "m", "changes": [{"op": "put", "path": path, "content": "x" * 500, "base": None}]}


class Flood:
    """Sends changesets of one principal as fast as it is let."""

    def __init__(self, host: str, port: int, token: str, label: str, ahead: int) -> None:
        self._who = (host, port, token)
        self._label = label
        self._ahead = ahead
        self._accepted, self._lock = 0, threading.Lock()
        self._enough = threading.Event()

    def run(self, begun: Event, over: Event) -> int:
        """Send until it is over; return how many were accepted. Says when `ahead` were, or no more are let in.

        It pauses while twice as many wait: what it leaves behind has to land before the next phase.
        """
        threads = [threading.Thread(target=self._watch, args=(over,))]
        for number in range(_SINGLES + 1):
            send = (number, _BULK if number == 0 else 0, begun, over)
            threads.append(threading.Thread(target=self._send, args=send))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self._accepted

    def _watch(self, over: Event) -> None:
        agent = Agent(*self._who)
        while not over.wait(0.2):
            if agent.waiting() >= 2 * self._ahead:
                self._enough.set()
            else:
                self._enough.clear()
        agent.close()

    def _send(self, number: int, bulk: int, begun: Event, over: Event) -> None:
        agent, sent = Agent(*self._who), 0
        while not over.is_set():
            if self._enough.is_set():
                over.wait(0.1)
                continue
            names = [f"flood/{self._label}/{number}/{i // _DIRECTORY}/{i}" for i in range(sent, sent + (bulk or 1))]
            sent += len(names)
            count, wait = _submit(agent, names, bulk > 0)
            with self._lock:
                self._accepted += count
                if self._accepted >= self._ahead or count < len(names):
                    begun.set()
            if count < len(names):
                over.wait(max(wait, 0.05))
        agent.close()


def _submit(agent: Agent, names: list[str], bulk: bool) -> tuple[int, float]:
    """Submit a changeset for each name; return how many were accepted, and the Retry-After."""
    if not bulk:
        status, wait, _ = agent.ask("POST", "/v1/slices/flooded/changesets", put(names[0]))
        return int(status == 202), wait
    items = [{"slice": "flooded", **put(name)} for name in names]
    _, wait, found = agent.ask("POST", "/v1/changesets", {"changesets": items})
    return sum(outcome["status"] == 202 for outcome in found.get("outcomes", ())), wait


def flood(host: str, port: int, token: str, label: str, ahead: int, begun: Event, over: Event) -> int:
    """Flood, in a process of its own; it gives way, since its clients would be on machines of their own."""
    os.nice(19)
    return Flood(host, port, token, label, ahead).run(begun, over)


class Site:
    """A stack with a policy, and the two principals."""

    def __init__(self, stack: Stack) -> None:
        self.host, self.port = address(stack)
        assert stack.token
        self._root = stack.token
        self.allow({})
        root = Agent(self.host, self.port, self._root)
        self.tokens = {name: root.get("POST", "/v1/tokens", {"principal": name})["token"] for name in (WRITER, FLOOD)}
        for name in ("flooded", "mine"):
            root.get("POST", "/v1/slices", {"name": name, "paths": ["/"]})
        root.close()

    def allow(self, quotas: dict[str, Any]) -> None:
        """Let both write, within quotas."""
        grants = [{"to": "user:admin", "role": "admin", "path": "/"}]
        grants += [{"to": name, "role": "writer", "path": "/"} for name in (WRITER, FLOOD)]
        root = Agent(self.host, self.port, self._root)  # a connection that was idle would be closed by now
        root.get("PUT", "/v1/policy", {"grants": grants, "quotas": quotas}, **{"If-Match": "*"})
        root.close()

    def land(self, label: str, slice_name: str, plan: Plan) -> list[float]:
        """Land one change after the other; return how long each took, in seconds."""
        agent, took = Agent(self.host, self.port, self.tokens[WRITER]), list[float]()
        end = time.monotonic() + plan.seconds
        for number in range(plan.changes):
            if took and time.monotonic() > end:
                break
            change = put(f"mine/{label}/{number // _DIRECTORY}/{number}")
            began = time.perf_counter()
            made = agent.get("POST", f"/v1/slices/{slice_name}/changesets", change)
            while (now := agent.get("GET", f"/v1/changesets/{made['id']}?wait=50&until=landed"))["status"] != "landed":
                if now["status"] not in {"queued", "committed"}:
                    raise Refused(f"the writer's change is {now}")
            took.append(time.perf_counter() - began)
        agent.close()
        return took

    @contextmanager
    def flooded(self, label: str, by: str, plan: Plan) -> Iterator[None]:
        """Have the flood there during this block, and wait until it has landed."""
        context = get_context("spawn")
        with context.Manager() as manager, ProcessPoolExecutor(1, context) as pool:
            begun, over = manager.Event(), manager.Event()
            job = pool.submit(flood, self.host, self.port, self.tokens[by], label, plan.ahead, begun, over)  # type: ignore[arg-type]
            begun.wait(_PATIENCE)
            try:
                yield
            finally:
                over.set()
                job.result(_PATIENCE)
        end = time.monotonic() + _PATIENCE
        agent = Agent(self.host, self.port, self.tokens[by])
        while agent.waiting():
            if time.monotonic() > end:
                raise Refused("the flood does not land")
            time.sleep(0.2)
        agent.close()


def run(folder: Path, say: Say, *, rounds: int = 3, plan: Plan = Plan(), s3: str = "auto") -> list[Figure]:
    """Measure in rounds, each alone and beside the flood. Raises Refused."""
    figures = []
    with Stack(s3=s3, with_flower=False, with_tokens=True) as stack:
        site = Site(stack)
        site.land("warm", "mine", plan)
        for where, slice_name in (("another slice", "mine"), ("the same slice", "flooded")):
            figures.append(_measure(site, slice_name, where, say, rounds, plan))
    return figures


def _measure(site: Site, slice_name: str, where: str, say: Callable[[str], None], rounds: int, plan: Plan) -> Figure:
    ways = {"without shares": (WRITER, {}), "turns": (FLOOD, {}), "quotas": (FLOOD, {FLOOD: QUOTA})}
    times: dict[str, list[float]] = {"quiet": [], **{way: [] for way in ways}}
    ratios: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, (by, quotas) in ways.items():
            label = f"{way.replace(' ', '-')}-{slice_name}-{number}"
            # Just before: what an earlier flood leaves to be compacted meets both.
            quiet = site.land(f"quiet-{label}", slice_name, plan)
            times["quiet"] += quiet
            site.allow(quotas)
            time.sleep(1)  # a policy counts within a second
            with site.flooded(label, by, plan):
                beside = site.land(label, slice_name, plan)
            times[way] += beside
            p = [percentiles(each) for each in (quiet, beside)]
            ratios[way].append(p[1]["p99"] / p[0]["p99"])
            say(
                f"{where}, round {number + 1}: quiet p50 {p[0]['p50']:g} p99 {p[0]['p99']:g} ms, {way} p50 "
                f"{p[1]['p50']:g} p99 {p[1]['p99']:g} ms of {len(beside)}, {ratios[way][-1]:.2f} times"
            )
        site.allow({})
    details = {
        **at_most(GOAL),
        "latency_of": {way: percentiles(taken) for way, taken in times.items()},
        "ratios": {way: [round(ratio, 2) for ratio in each] for way, each in ratios.items()},
    }
    axis = f"p99 of one change beside a flood of another principal in {where}, with quotas, against alone"
    return Figure(f"flood in {where}", axis, "ratio", 1, tuple(ratios["quotas"]), details)
