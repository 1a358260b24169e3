"""What the samples of a soak say: what is flat and what grows. Pure, so that a file is judged as a run is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from benchmarks.figures import percentiles, rounded
from benchmarks.soak.slopes import FEWEST, Flatness, Point, judge, theil_sen, trend, troughs

Json = dict[str, Any]

SOAK, IDLE = "soak", "idle"
"""Phases of samples that are judged."""

GROWTH_AN_HOUR = 0.05
"""A process, or Redis, that grows by less than this share of itself an hour is called flat."""
LEAST_GROWTH = 1 << 20
"""And so is one that grew by less than so many bytes while it was judged: memory comes in pieces."""
CLEAR_AN_HOUR = 0.5
"""Where growth by this share an hour cannot be excluded, the run was too short or too noisy to tell."""
LEAST_COUNT = 3.0
"""Descriptors, threads or the like that a process may have come to have more while it was judged."""
STEADY = 1.2
"""The bucket may take so many times the bytes a changeset in the second half of what it took in the first."""

_WINDOWS = 20  # of which the troughs of Redis are taken
_SECONDS = 3600.0
# Their memory is their makers' business; what we put into Redis is judged by what it says of itself.
_SERVERS = ("redis", "s3")
# A process that was seen in a smaller share of the samples came and went.
_STAYED = 0.2
# Folders that grow with what is submitted, and with nothing else; and one whose objects are deleted when compactions
# have copied them, which grows with nothing.
_FOLDERS, _PASSED = ("log/", "packs/"), "inbox/"
# Entries that may be made while nobody submits: history that ages, garbage that is found.
_IDLE_KINDS = ("compact", "condemn")


@dataclass(frozen=True)
class Line:
    """One thing that was judged."""

    name: str
    unit: str
    level: float
    per_hour: float | None  # and the ends of its interval; None: too few samples
    low: float | None
    high: float | None
    verdict: Flatness
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The outcome of a soak."""

    minutes: float  # that were judged
    landed: int  # in them
    lines: list[Line]
    kinds: dict[str, Json]  # of Redis's keys that grew: keys and bytes a changeset
    folders: dict[str, Json]  # of the bucket: objects and bytes a changeset
    stored: float | None  # bytes in the bucket for each byte submitted
    latency: list[Json]  # of each third of what was judged
    load: Json

    @property
    def flat(self) -> bool:
        """Whether nothing grows, and every series could be judged."""
        return all(line.verdict in {Flatness.FLAT, Flatness.OTHERS} for line in self.lines)

    def to_json(self) -> Json:
        """Return it for the last line of the output."""
        return {"flat": self.flat, **asdict(self)}


def report(samples: Sequence[Json], warm_up: float) -> Report:
    """Judge what was sampled from `warm_up` (seconds) on."""
    judged = [sample for sample in samples if sample["phase"] == SOAK and sample["t"] >= warm_up]
    if len(judged) < 2:
        return Report(
            0.0, 0, [Line("samples", "", len(judged), None, None, None, Flatness.UNCLEAR)], {}, {}, None, [], {}
        )
    landed = judged[-1]["merged"] - judged[0]["merged"]
    lines = [*_processes(judged), *_redis(judged), *_queues(judged), *_bucket(judged), *_idle(samples)]
    return Report(
        minutes=round((judged[-1]["t"] - judged[0]["t"]) / 60, 2),
        landed=landed,
        lines=lines,
        kinds=_kinds(samples),
        folders=_folders(judged),
        stored=_stored(judged),
        latency=_latency(judged),
        load={name: value for name, value in judged[-1]["load"].items() if name != "latencies"},
    )


def _processes(samples: Sequence[Json]) -> Iterable[Line]:
    names = {name for sample in samples for name in sample["processes"]}
    for name in sorted(names):
        seen = [(sample["t"], sample["processes"][name]) for sample in samples if name in sample["processes"]]
        if len(seen) < _STAYED * len(samples):
            continue
        # Resident, not unique: pages that a parent and its children cease to share are no growth.
        note = f"USS {seen[-1][1]['uss'] / 2**20:.1f} MiB"
        rss = _memory(f"{name} RSS", [(t, one["rss"]) for t, one in seen], note)
        if name in _SERVERS:
            yield replace(rss, verdict=Flatness.OTHERS)
            continue
        pids = {one["pid"] for _, one in seen}
        if len(pids) > 1:
            rss = replace(rss, verdict=Flatness.GROWS, note=f"was replaced {len(pids) - 1} times")
        yield rss
        for what in ("fds", "threads"):
            line = _counted(f"{name} {what}", [(t, one[what]) for t, one in seen])
            if line.verdict is not Flatness.FLAT:
                yield line


def _redis(samples: Sequence[Json]) -> Iterable[Line]:
    after = [new for old, new in pairwise(samples) if new.get("compacted", 0) > old.get("compacted", 0)]
    name = "Redis used_memory, after compactions"
    feet = [(sample["t"], sample["redis"]["used_memory"]) for sample in after]
    if len(feet) < FEWEST:
        name = "Redis used_memory, at its lowest"
        feet = troughs([(sample["t"], sample["redis"]["used_memory"]) for sample in samples], _WINDOWS)
    merged = {sample["t"]: sample["merged"] for sample in samples}
    by_changeset = theil_sen([merged[t] for t, _ in feet], [size for _, size in feet])
    yield _memory(name, feet, f"{by_changeset:.0f} bytes a changeset")
    yield _counted("Redis clients", [(sample["t"], sample["redis"]["clients"]) for sample in samples])


def _queues(samples: Sequence[Json]) -> Iterable[Line]:
    for name in sorted(samples[-1]["queues"]):
        # A queue that is longer at its shortest: work comes in faster than it is done, or is left lying.
        line = _counted(name, troughs([(sample["t"], sample["queues"].get(name, 0)) for sample in samples], _WINDOWS))
        if line.verdict is not Flatness.FLAT:
            yield line


def _memory(name: str, points: Sequence[Point], note: str = "") -> Line:
    level = statistics.median(y for _, y in points)
    least = LEAST_GROWTH / _hours(points)
    allowed, clear = max(GROWTH_AN_HOUR * level, least), max(CLEAR_AN_HOUR * level, least)
    return _trending(name, "bytes", points, level, allowed, clear, note)


def _counted(name: str, points: Sequence[Point]) -> Line:
    level = statistics.median(y for _, y in points)
    allowed = max(GROWTH_AN_HOUR * level, LEAST_COUNT / _hours(points))
    # Counts are small and noisy: what cannot be excluded is not held against them.
    return _trending(name, "count", points, level, allowed, math.inf)


def _hours(points: Sequence[Point]) -> float:
    return max(1.0, points[-1][0] - points[0][0]) / _SECONDS


def _trending(
    name: str, unit: str, points: Sequence[Point], level: float, allowed: float, clear: float, note: str = ""
) -> Line:
    fit = trend([(t / _SECONDS, y) for t, y in points])
    verdict = judge(fit, allowed, clear)
    if fit is None:
        return Line(name, unit, level, None, None, None, verdict, note or "too few samples")
    return Line(name, unit, level, fit.slope, fit.low, fit.high, verdict, note)


def _listed(samples: Sequence[Json]) -> list[Json]:
    return [sample["bucket"] for sample in samples if "bucket" in sample]


def _bucket(samples: Sequence[Json]) -> Iterable[Line]:
    """Judge whether each folder's bytes follow the changesets: as many for each, however long the history is.

    What is deleted again does not even grow with them.
    """
    listed = _listed(samples)
    passed = [(sample["t"], float(_bytes_of(sample["bucket"], _PASSED))) for sample in samples if "bucket" in sample]
    if any(size for _, size in passed):
        yield _memory(f"bucket {_PASSED}", passed)
    for folder in (*_FOLDERS, "all"):
        points = [(float(listing["merged"]), float(_bytes_of(listing, folder))) for listing in listed]
        if not points[-1:] or not points[-1][1]:
            continue
        half = len(points) // 2
        if len(points) < FEWEST // 2:
            yield Line(f"bucket {folder}", "ratio", 0, None, None, None, Flatness.UNCLEAR, "too few listings")
            continue
        first, second = (theil_sen(*zip(*part, strict=True)) for part in (points[: half + 1], points[half:]))
        ratio = second / first if first > 0 else 1.0
        verdict = Flatness.FLAT if ratio <= STEADY else Flatness.GROWS
        note = f"{first:.0f} bytes a changeset in the first half, {second:.0f} in the second"
        yield Line(f"bucket {folder}", "ratio", rounded(ratio, 3), None, None, None, verdict, note)


def _bytes_of(listed: Json, folder: str) -> int:
    folders = listed["folders"]
    if folder == "all":
        return sum(count["bytes"] for count in folders.values())
    return int(folders.get(folder, {"bytes": 0})["bytes"])


def _idle(samples: Sequence[Json]) -> Iterable[Line]:
    """Judge the log while nobody submits: nothing may be written to it but what history's age calls for."""
    made = [sample["idle_entries"] for sample in samples if "idle_entries" in sample]
    for kinds in made:
        idle = sum(count for kind, count in kinds.items() if kind not in _IDLE_KINDS)
        verdict = Flatness.GROWS if idle else Flatness.FLAT
        yield Line("log, while nobody submits", "entries", idle, None, None, None, verdict, str(kinds) if kinds else "")


def _kinds(samples: Sequence[Json]) -> dict[str, Json]:
    counted = [sample for sample in samples if sample.get("keys", {}).get("exact")]
    if len(counted) < 2 or counted[-1]["committed"] <= counted[0]["committed"]:
        return {}
    first, last = counted[0]["keys"]["kinds"], counted[-1]["keys"]["kinds"]
    committed = counted[-1]["committed"] - counted[0]["committed"]
    none = {"keys": 0, "bytes": 0}
    grown = {}
    for kind in {*first, *last}:
        before, after = first.get(kind, none), last.get(kind, none)
        grown[kind] = {
            **after,
            "keys_a_changeset": rounded((after["keys"] - before["keys"]) / committed, 3),
            "bytes_a_changeset": rounded((after["bytes"] - before["bytes"]) / committed, 3),
        }
    return dict(sorted(grown.items(), key=lambda item: -item[1]["bytes_a_changeset"]))


def _folders(samples: Sequence[Json]) -> dict[str, Json]:
    listed = _listed(samples)
    if len(listed) < 2 or listed[-1]["merged"] <= listed[0]["merged"]:
        return {}
    first, last = listed[0]["folders"], listed[-1]["folders"]
    landed = listed[-1]["merged"] - listed[0]["merged"]
    none = {"objects": 0, "bytes": 0}
    return {
        folder: {
            **last[folder],
            **{
                f"{what}_a_changeset": rounded((last[folder][what] - first.get(folder, none)[what]) / landed, 3)
                for what in ("objects", "bytes")
            },
        }
        for folder in sorted(last)
    }


def _stored(samples: Sequence[Json]) -> float | None:
    listed = _listed(samples)
    if len(listed) < 2:
        return None
    submitted = listed[-1]["submitted"] - listed[0]["submitted"]
    return rounded((_bytes_of(listed[-1], "all") - _bytes_of(listed[0], "all")) / submitted, 3) if submitted else None


def _latency(samples: Sequence[Json]) -> list[Json]:
    third = -(-len(samples) // 3)
    thirds = [samples[i : i + third] for i in range(0, len(samples), third)]
    return [
        {
            name: percentiles([value for sample in some for value in sample["load"]["latencies"].get(name, [])])
            for name in ("accepted", "landed")
        }
        for some in thirds
    ]
