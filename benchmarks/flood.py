"""Whether one principal that floods keeps another waiting: how long one change takes to land, beside a flood and alone.

The flood queues some thousand changesets, and goes on with large and small requests as fast as it is let. Beside it a
writer lands one change at a time. It is measured alone; with the flood under its own principal, so that nothing tells
them apart (`without shares`); with the flood under another one (`turns`); and with quotas for that one (`quotas`).
"""

from __future__ import annotations

import http.client
import json
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
QUOTA = {"requests_per_second": 10, "queued": 64}
WRITER, FLOOD = "user:writer", "agent:flood"
_BULK = 200
_SINGLES = 4  # connections that send one changeset a request
_PATIENCE = 300.0


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    ahead: int = 10_000  # changesets that the flood has sent before the writer begins
    changes: int = 100  # of the writer in each phase, at most
    seconds: float = 30.0  # after which a phase ends that is slow


QUICK = Plan(ahead=1_000, changes=20, seconds=8.0)


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

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def put(path: str) -> dict[str, Any]:
    """Return a changeset of one new file."""
    return {"message": "m", "changes": [{"op": "put", "path": path, "content": "x" * 500, "base": None}]}


def flood(host: str, port: int, token: str, label: str, ahead: int, begun: Event, over: Event) -> int:
    """Send changesets until it is over; return how many were accepted. Says when so many are, or no more are let in."""
    accepted, lock = [0], threading.Lock()

    def note(count: int, refused: bool) -> None:
        with lock:
            accepted[0] += count
            if accepted[0] >= ahead or refused:
                begun.set()

    def send(number: int, bulk: int) -> None:
        agent, sent = Agent(host, port, token), 0
        while not over.is_set():
            names = [f"flood/{label}/{number}/{sent + i}" for i in range(bulk or 1)]
            sent += len(names)
            if bulk:
                items = [{"slice": "flooded", **put(name)} for name in names]
                status, wait, found = agent.ask("POST", "/v1/changesets", {"changesets": items})
                count = sum(outcome["status"] == 202 for outcome in found.get("outcomes", ()))
                refused = count < bulk
            else:
                status, wait, _ = agent.ask("POST", "/v1/slices/flooded/changesets", put(names[0]))
                count, refused = int(status == 202), status != 202
            note(count, refused)
            if refused:
                over.wait(max(wait, 0.05))
        agent.close()

    threads = [
        threading.Thread(target=send, args=(number, _BULK if number == 0 else 0)) for number in range(_SINGLES + 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return accepted[0]


class Site:
    """A stack with a policy, and the two principals."""

    def __init__(self, stack: Stack) -> None:
        self.host, self.port = address(stack)
        assert stack.token
        self.root = Agent(self.host, self.port, stack.token)
        self.allow({})
        self.tokens = {
            name: self.root.get("POST", "/v1/tokens", {"principal": name})["token"] for name in (WRITER, FLOOD)
        }
        for name in ("flooded", "mine"):
            self.root.get("POST", "/v1/slices", {"name": name, "paths": ["/"]})

    def allow(self, quotas: dict[str, Any]) -> None:
        """Let both write, within quotas."""
        grants = [{"to": "user:admin", "role": "admin", "path": "/"}]
        grants += [{"to": name, "role": "writer", "path": "/"} for name in (WRITER, FLOOD)]
        self.root.get("PUT", "/v1/policy", {"grants": grants, "quotas": quotas}, **{"If-Match": "*"})

    def land(self, label: str, slice_name: str, plan: Plan) -> list[float]:
        """Land one change after the other; return how long each took, in seconds."""
        agent, took = Agent(self.host, self.port, self.tokens[WRITER]), []
        end = time.monotonic() + plan.seconds
        for number in range(plan.changes):
            if took and time.monotonic() > end:
                break
            began = time.perf_counter()
            made = agent.get("POST", f"/v1/slices/{slice_name}/changesets", put(f"mine/{label}/{number}"))
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
        while any(row["used"] for row in agent.get("GET", "/v1/limits")["quotas"] if row["name"] == "queued"):
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
        quiet = site.land(f"quiet-{slice_name}-{number}", slice_name, plan)
        times["quiet"] += quiet
        for way, (by, quotas) in ways.items():
            site.allow(quotas)
            time.sleep(1)  # a policy counts within a second
            label = f"{way.replace(' ', '-')}-{slice_name}-{number}"
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
