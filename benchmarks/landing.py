"""Landing throughput and latency of Sluice, end to end over HTTP, on a stack of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.client import Client
from app.stack import Stack
from benchmarks.workload import Changeset, Workload, expected_tree, import_into

_IMPORT_FILES = 400

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to submit."""

    name: str
    clients: int
    in_request: int  # changesets in one request
    count: int  # changesets in all


def ways(quick: bool) -> list[Way]:
    """Return the ways that are measured."""
    scale = 4 if quick else 1
    return [
        Way("bulk, 500 a request, 4 clients", 4, 500, 2400 // scale),
        Way("one a request, 16 clients", 16, 1, 1000 // scale),
        Way("one a request, 64 clients", 64, 1, 1200 // scale),
    ]


def import_files(client: Client, files: Iterator[tuple[str, bytes]], slices: dict[str, str]) -> str:
    """Submit the base and return the commit that has all of it."""
    base = client.head()["tip"]["commit"]
    groups: dict[str, list[Json]] = {}
    ids = []

    def send(top: str) -> None:
        changes = groups.pop(top, [])
        if changes:
            ids.append(client.submit(slices[top], {"base": base, "message": "Import", "changes": changes})["id"])

    for path, data in files:
        top = path.split("/")[0]
        groups.setdefault(top, []).append({"op": "put", "path": path, "content": data.decode()})
        if len(groups[top]) == _IMPORT_FILES:
            send(top)
    for top in list(groups):
        send(top)
    for each in ids:
        while client.changeset(each, 60, "landed")["status"] != "landed":
            client.merge()
    return str(client.head()["main"]["commit"])


def bodies(changesets: Sequence[Changeset], way: Way, slices: dict[str, str], base: str) -> list[tuple[str, str]]:
    """Return the requests of a way, built before the clock starts."""
    items = [
        {
            "slice": slices[changeset.top],
            "base": base,
            "message": f"Change {changeset.number}",
            "changes": [{"op": "put", "path": path, "content": data.decode()} for path, data in changeset.files],
        }
        for changeset in changesets
    ]
    if way.in_request > 1:
        groups = [items[i : i + way.in_request] for i in range(0, len(items), way.in_request)]
        return [("/v1/changesets", json.dumps({"changesets": group})) for group in groups]
    return [(f"/v1/slices/{item.pop('slice')}/changesets", json.dumps(item)) for item in items]


def measure(stack: Stack, workload: Workload, folder: Path, chosen: Sequence[Way]) -> list[Json]:
    """Import the base, then measure each way on changesets of its own."""
    client = Client(stack.url)
    slices = {top: client.create_slice(top, [f"{top}/"])["id"] for top in workload.tops}
    import_into(folder / "base.git", workload)
    base = import_files(client, workload.initial(), slices)
    results, first = [], 0
    done: list[Changeset] = []
    for way in chosen:
        changesets = list(workload.changesets(way.count, first))
        first += way.count
        done += changesets
        expected = expected_tree(folder / "base.git", iter(done))
        job = {
            "url": stack.url,
            "clients": way.clients,
            "bodies": bodies(changesets, way, slices, base),
            "expected": expected,
            "sample": 1 if way.in_request > 1 else max(1, way.count // 200),
        }
        results.append({"way": way.name, "changesets": way.count, **generate(job)})
    return results


def generate(job: Json) -> Json:
    """Run the load generator in a process of its own and return its figures.

    Raises RuntimeError where something did not land, or the tree is not the expected one.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"], input=json.dumps(job), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr}")
    report = json.loads(done.stdout)
    if report["errors"]:
        raise RuntimeError(f"not everything landed: {report['errors']}")
    count = sum(len(json.loads(body).get("changesets", [0])) for _, body in job["bodies"])
    return {
        "landed_per_s": count / report["seconds"],
        "accepted_per_s": count / report["submit_seconds"],
        "seconds": report["seconds"],
        **{f"{name}_ms": percentiles(report[f"{name}_latency"]) for name in ("accepted", "committed", "landed")},
    }


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return p50, p90 and p99 in milliseconds."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    return {f"p{p}": round(ordered[min(len(ordered) - 1, len(ordered) * p // 100)] * 1000, 1) for p in (50, 90, 99)}


def stages(log: Path) -> Json:
    """Return microseconds a changeset by stage, over all batches in a worker's log."""
    totals: dict[str, int] = {}
    changesets = batches = 0
    for line in log.read_text(errors="replace").splitlines():
        if '"batch_committed"' not in line:
            continue
        event = json.loads(line)
        batches += 1
        changesets += event["changesets"]
        for name, value in event.items():
            if name.endswith("_us"):
                totals[name] = totals.get(name, 0) + value
    each = {name: round(value / max(1, changesets), 1) for name, value in totals.items()}
    return {"batches": batches, "changesets": changesets, "us_a_changeset": each}


def run(s3: str, quick: bool, files: int = 10_000) -> Json:
    """Measure all ways on one stack and return the figures."""
    workload = Workload(files)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        with Stack(data=path / "stack", s3=s3, with_flower=False, abrupt=True) as stack:
            results = measure(stack, workload, path, ways(quick))
            kind = stack.s3_kind
        return {"s3": kind, "ways": results, "stages": stages(path / "stack" / "logs" / "worker.log")}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1] if len(sys.argv) > 1 else "auto", "--quick" in sys.argv), indent=1))
