"""A soak under way: it keeps the load going, samples, and writes each sample down at once."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import IO, Any

from benchmarks.landing import Say, Site, address
from benchmarks.soak.generator import Generator, Load, LoadFailed
from benchmarks.soak.sampler import Sampler
from benchmarks.soak.verdict import IDLE, SOAK
from benchmarks.workload import Workload
from storage.base.ids import Seq
from storage.base.settings import Settings
from storage.log.entry import decode
from storage.repository import Repository

Json = dict[str, Any]

# Caches are small, so that they are full when the warm-up is over, and what ages does so within it. Those that this
# version has not are left out.
SETTINGS = {
    "cache_bytes": 2 << 20,
    "merge_cache_bytes": 2 << 20,
    "archive_cache_bytes": 2 << 20,
    "stream_cache_bytes": 2 << 20,
    "redis_connections": 24,
    "shared_cache_seconds": 45,
    "shared_cache_bytes": 8 << 20,
    "max_stream_seconds": 45.0,
    "history_age": 60.0,
    "key_age": 90.0,
    "gc_interval": 60.0,
    "gc_grace": 120.0,
    "inbox_margin": 30.0,
    "late_put": 20.0,
}
FLOWER_TASKS = 500
# Seconds in which all that was submitted has to land when no more is.
_DRAIN = 120.0


def settings_of_soak() -> Json:
    """Return those of SETTINGS that this version has."""
    known = {field_.name for field_ in dataclasses.fields(Settings)}
    return {name: value for name, value in SETTINGS.items() if name in known}


@dataclass
class Soak:
    """A soak under way."""

    site: Site
    workload: Workload
    out: IO[str]
    clients: int
    bulk: int
    every: float
    say: Say
    listed_every: float = 60.0
    """Seconds between two counts of keys and objects."""
    started: float = field(default_factory=time.monotonic)
    samples: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sampler = Sampler.of(self.site.stack)
        self._load: Json = {"counts": {"bytes": 0}, "latencies": {}}
        self._counted = 0.0
        # Listing a large bucket takes longer than there is between two samples.
        self._lister = ThreadPoolExecutor(1, "list")
        self._listing: Future[Json] | None = None

    def measure(self, seconds: float) -> float:
        """Return how many changesets a second land where they are sent as fast as they are answered."""
        before, began = self.sampler.head()["merged"], time.monotonic()
        generator = self._generate("measure", None)
        try:
            while time.monotonic() - began < seconds:
                time.sleep(1)
                generator.reports()
            generator.stop()
            self._drain()
        finally:
            generator.kill()
        return float((self.sampler.head()["merged"] - before) / (time.monotonic() - began))

    def run(self, rate: float, seconds: float, warm_up: float) -> None:
        """Keep the pace and sample. Raises LoadFailed."""
        generator = self._generate("soak", rate)
        began = time.monotonic()
        self.started = began
        counted = False
        try:
            while (now := time.monotonic() - began) < seconds:
                counting = not counted and now >= warm_up
                counted = counted or counting
                self._sample(SOAK, generator, exact=counting)
                self._pause(began)
            self._end_of_listing()
            self._listing = self._lister.submit(self._list)
            self._end_of_listing()
            self._sample(SOAK, generator, exact=True)
            self.say("no more is submitted; what is held is let go")
            self._load = self._load | generator.stop()[-1]
        finally:
            generator.kill()

    def idle(self, seconds: float) -> None:
        """Let all land, and look at what is written while nobody submits."""
        self._drain()
        before = self.sampler.head()["applied"]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._sample(IDLE, None)
            time.sleep(self.every)
        entries = Repository(self.site.stack.settings).log
        kinds = Counter(
            decode(data).kind
            for seq in range(before + 1, self.sampler.head()["applied"] + 1)
            if (data := entries.read(Seq(seq))) is not None
        )
        self._sample(IDLE, None, idle_entries=dict(kinds))

    def _generate(self, name: str, rate: float | None) -> Generator:
        host, port = address(self.site.stack)
        return Generator(Load(host, port, self.workload, name, self.clients, rate, self.bulk))

    def _drain(self) -> None:
        """Wait until all that was submitted has landed. Raises LoadFailed."""
        until = time.monotonic() + _DRAIN
        while (head := self.sampler.head())["committed"] > head["merged"] or self.sampler.queues()["queued"]:
            if time.monotonic() > until:
                raise LoadFailed(f"after {_DRAIN:g} s without load not all has landed: {head}, {self.sampler.queues()}")
            time.sleep(0.1)

    def _sample(self, phase: str, generator: Generator | None, exact: bool = False, **more: Any) -> None:
        if generator:
            reports = generator.reports()
            merged: dict[str, list[float]] = {}
            for report in reports:
                for name, values in report["latencies"].items():
                    merged.setdefault(name, []).extend(values)
            self._load = (reports[-1] if reports else self._load) | {"latencies": merged}
        sample = {
            "t": round(time.monotonic() - self.started, 2),
            "phase": phase,
            **self.sampler.quick(),
            "load": self._load,
        }
        if exact or time.monotonic() - self._counted >= self.listed_every:
            self._counted = time.monotonic()
            sample["keys"] = self.sampler.keys(exact)
            self._listing = self._listing or self._lister.submit(self._list)
        if self._listing and self._listing.done():
            sample["bucket"] = self._listing.result()
            self._listing = None
        sample |= more
        self.samples.append(sample)
        self.out.write(json.dumps(sample) + "\n")
        self.out.flush()

    def _list(self) -> Json:
        submitted = self._load["counts"]["bytes"]
        return self.sampler.bucket() | {"submitted": submitted}

    def _end_of_listing(self) -> None:
        if self._listing:
            wait([self._listing])

    def _pause(self, began: float) -> None:
        """Wait for the next sample's time: they are evenly spaced, whatever they cost."""
        time.sleep(self.every - (time.monotonic() - began) % self.every)
