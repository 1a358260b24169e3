"""The load generator of a soak: a process of its own, whose writers keep a steady pace until they are stopped.

The pace is open: a changeset is due at its time whether or not those before it were answered. Beside the writers there
are clients that wait by long poll, clients on streams of events, and one that reads. What was done is sent to the
parent each second; the first thread that fails ends the load.
"""

from __future__ import annotations

import http.client
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.soak.mix import Mix, Tally
from benchmarks.soak.wire import Unexpected, Wire
from benchmarks.workload import Workload

# Writers that are later than this (seconds) take up the pace from now on: what was missed is no burst later.
_MOST_LATE = 2.0
_REPORT_EVERY = 1.0
# The base of what is written is the tip of at most so long ago (seconds).
_LOOK_EVERY = 0.25
_READ_EVERY = 0.2
# One changeset in so many is waited for by long poll, where a client is free.
_WATCHED = 10
_WAITERS, _STREAMS = 8, 3
_POLL = 20


class LoadFailed(Exception):
    """The load generator ended before it was stopped."""


@dataclass(frozen=True)
class Load:
    """What is to be done."""

    host: str
    port: int
    workload: Workload
    run: str
    clients: int
    rate: float | None  # changesets a second; None: as fast as they are answered
    bulk: int = 0


class Generator:
    """The process, seen from its parent."""

    def __init__(self, load: Load) -> None:
        """Start it."""
        context = get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=run, args=(load, theirs), name="soak load", daemon=True)
        self._process.start()
        theirs.close()
        self._ended = False

    def reports(self) -> list[dict[str, Any]]:
        """Return what it has reported since the last call. Raises LoadFailed where it has ended."""
        reports = []
        while not self._ended and self._ours.poll():
            reports.append(self._receive())
        return reports

    def stop(self) -> list[dict[str, Any]]:
        """Have it let go of what it holds, and end; return its last reports. Raises LoadFailed."""
        self._ours.send("stop")
        reports = []
        while not self._ended:
            reports.append(self._receive())
        self._process.join()
        return reports

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()

    def _receive(self) -> dict[str, Any]:
        try:
            report: dict[str, Any] = self._ours.recv()
        except EOFError:
            raise LoadFailed("the load generator is gone") from None
        if "failure" in report:
            raise LoadFailed(report["failure"])
        self._ended = bool(report.get("last"))
        return report


def run(load: Load, parent: Connection) -> None:
    """Do it, until the parent says so or is gone."""
    _Run(load, parent).run()


class Pace:
    """When the next changesets are due. Safe for threads."""

    def __init__(self, rate: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._due = clock()
        self._lock = threading.Lock()
        self.lost = 0.0  # seconds that the pace was put off, since nobody was free in time

    def take(self, changesets: int) -> float:
        """Return the seconds until the next changesets are due, and count them as taken."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = self._clock()
            late = now - self._due
            if late > _MOST_LATE:
                self.lost += late
                self._due = now
            due = self._due
            self._due += changesets / self._rate
        return max(0.0, due - now)


class _Run:
    def __init__(self, load: Load, parent: Connection) -> None:
        self._load, self._parent = load, parent
        self._stop = threading.Event()
        self._tally = Tally()
        self._mix = Mix(load.workload, self._tally, load.run, load.bulk)
        self._pace = Pace(load.rate)
        self._watched: queue.Queue[tuple[str, float]] = queue.Queue(maxsize=2 * _WAITERS)
        self._wires: list[Wire] = []
        self._failures: list[str] = []

    def run(self) -> None:
        main = self._wire()
        self._look(main)
        writers = self._start("writer", self._write, self._load.clients)
        others = self._start("look", self._keep_looking, 1)
        others += self._start("waiter", self._wait, _WAITERS)
        others += self._start("stream", self._stream, _STREAMS)
        others += self._start("reader", self._read, 1)
        while not self._failures and not self._parent.poll(_REPORT_EVERY):
            self._parent.send(self._report())
        self._stop.set()
        for thread in writers + others:
            thread.join()
        if not self._failures:
            self._guarded(lambda: self._mix.settle(main))
        self._parent.send({"failure": self._failures[0]} if self._failures else self._report() | {"last": True})

    def _start(self, name: str, target: Callable[[Wire], None], count: int) -> list[threading.Thread]:
        threads = []
        for i in range(count):
            wire = self._wire()
            thread = threading.Thread(
                target=self._guarded, args=(lambda wire=wire: target(wire),), name=f"{name}-{i}", daemon=True
            )
            thread.start()
            threads.append(thread)
        return threads

    def _wire(self) -> Wire:
        self._wires.append(Wire(self._load.host, self._load.port, self._stop))
        return self._wires[-1]

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported and ends the load
            if not (isinstance(error, Unexpected) and self._stop.is_set()):
                self._failures.append(f"{threading.current_thread().name}: {type(error).__name__}: {error}")
            self._stop.set()

    def _report(self) -> dict[str, Any]:
        counts, latencies = self._tally.take()
        waited = sum(wire.waited for wire in self._wires)
        cpu = time.process_time()
        return {"counts": counts | {"waited": waited}, "lost": self._pace.lost, "cpu": cpu, "latencies": latencies}

    # --- the threads --------------------------------------------------------------------------------------------------

    def _write(self, wire: Wire) -> None:
        for number in range(1 << 62):
            count, act = self._mix.next()
            if self._stop.wait(self._pace.take(count)):
                return
            started = time.perf_counter()
            changeset = act(wire)
            self._tally.time("accepted", (time.perf_counter() - started) / count)
            if changeset and number % _WATCHED == 0 and not self._watched.full():
                self._watched.put((changeset, started))

    def _wait(self, wire: Wire) -> None:
        while not self._stop.is_set():
            try:
                changeset, started = self._watched.get(timeout=1)
            except queue.Empty:
                continue
            while not self._stop.is_set():
                document = wire.get(f"/v1/changesets/{changeset}?wait={_POLL}&until=landed")
                if document["status"] == "landed":
                    self._tally.time("landed", time.perf_counter() - started)
                if document["status"] not in {"queued", "committed"}:
                    self._tally.add(watched=1)
                    break

    def _keep_looking(self, wire: Wire) -> None:
        while not self._stop.wait(_LOOK_EVERY):
            self._look(wire)

    def _look(self, wire: Wire) -> None:
        self._mix.base = wire.get("/v1/head")["tip"]["commit"]

    def _read(self, wire: Wire) -> None:
        """Read a little of everything, in turns."""
        path, name = self._load.workload.path(0), next(iter(self._load.workload.slices()))
        turns: list[tuple[str, tuple[int, ...]]] = [
            (f"/v1/slices/{name}/files/{path}", ()),
            (f"/v1/slices/{name}/tree?limit=100", ()),
            (f"/v1/slices/{name}/commits?limit=100", ()),
            (f"/v1/slices/{name}/changesets?status=landed&limit=50", ()),
            (f"/v1/slices/{name}/changesets?status=queued&limit=50", ()),
            ("/v1/commits?limit=20", ()),
            ("/v1/conflicts?limit=20", ()),
            (f"/v1/paths/{path}", ()),
            ("/metrics", ()),
            ("/readyz", (503,)),
            ("/v1/health", (503,)),
            ("/v1/slices?limit=20", ()),
        ]
        at = 0
        while not self._stop.wait(_READ_EVERY):
            wire.get(*turns[at % len(turns)])
            newest = wire.get("/v1/commits?limit=1")["items"][0]["commit"] if at % 20 == 0 else ""
            if newest:
                merged = wire.get(f"/v1/commits/{newest}/changesets?limit=1")["items"]
                for commit in merged:
                    wire.get(f"/v1/changesets/{commit['changeset']}/diff")
            self._tally.add(reads=1)
            at += 1

    def _stream(self, _wire: Wire) -> None:
        last = ""
        while not self._stop.is_set():
            connection = http.client.HTTPConnection(self._load.host, self._load.port, timeout=60)
            connection.request("GET", "/v1/events", headers={"Last-Event-ID": last} if last else {})
            answer = connection.getresponse()
            if answer.status != 200:
                raise Unexpected(f"a stream of events: {answer.status}")
            self._tally.add(streams=1)
            events = 0
            while (line := answer.readline()) and not self._stop.is_set():
                if line.startswith(b"id: "):
                    last = line[4:].decode().strip()
                events += line.startswith(b"event: ")
                if events == 100:
                    self._tally.add(events=events)
                    events = 0
            self._tally.add(events=events)
            connection.close()
