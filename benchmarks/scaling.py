"""What landing costs on a large repository against a small one: the same changes, directories of the same width.

Both stacks run at once and take turns, so that a machine whose speed drifts drifts for both. The cost is the CPU time
of all processes of a stack for a changeset; throughput is given beside it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from app.client import Client
from app.stack import Stack
from benchmarks.landing import Way, bodies, generate, import_files
from benchmarks.workload import Changeset, Workload, expected_tree, import_into

Json = dict[str, Any]

WIDTH = 50
SIZES = (2_000, 200_000)


class Subject:
    """A stack with a repository of a size."""

    def __init__(self, files: int, s3: str, folder: Path, opened: ExitStack) -> None:
        self.files = files
        self.workload = Workload(files, width=WIDTH, tops=4, size=200)
        self._folder = folder
        folder.mkdir()
        self._stack = opened.enter_context(Stack(data=folder / "stack", s3=s3, with_flower=False, abrupt=True))
        self.s3 = self._stack.s3_kind
        client = Client(self._stack.url, timeout=300)
        self._slices = {top: client.create_slice(top, [f"{top}/"])["id"] for top in self.workload.tops}
        import_into(folder / "base.git", self.workload)
        self._base = import_files(client, self.workload.initial(), self._slices)
        self._done: list[Changeset] = []

    def round(self, count: int) -> Json:
        """Land `count` changesets and return what it cost."""
        changesets = list(self.workload.changesets(count, len(self._done)))
        self._done += changesets
        way = Way("", 4, 50, count)
        job = {
            "url": self._stack.url,
            "clients": way.clients,
            "bodies": bodies(changesets, way, self._slices, self._base),
            "expected": expected_tree(self._folder / "base.git", iter(self._done)),
            "sample": 0,
        }
        before = self._cpu_seconds()
        figures = generate(job)
        spent = self._cpu_seconds() - before
        return {"landed_per_s": round(figures["landed_per_s"], 1), "cpu_ms_a_changeset": round(spent / count * 1000, 3)}

    def _cpu_seconds(self) -> float:
        total = 0.0
        for process in self._stack.processes.values():
            parent = psutil.Process(process.pid)
            for each in (parent, *parent.children(recursive=True)):
                times = each.cpu_times()
                total += times.user + times.system
        return total


def run(s3: str, quick: bool = False) -> Json:
    """Measure both sizes in turns, and return the rounds and the ratios of their medians."""
    rounds, count = (2, 100) if quick else (4, 200)
    sizes = (SIZES[0], 20_000) if quick else SIZES
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        subjects = [Subject(files, s3, Path(folder) / str(files), opened) for files in sizes]
        for subject in subjects:
            subject.round(count // 2)  # warms caches; not counted
        found: dict[int, list[Json]] = {subject.files: [] for subject in subjects}
        for _ in range(rounds):
            for subject in subjects:
                found[subject.files].append(subject.round(count))
        kind = subjects[0].s3
    small, large = (_median(found[files]) for files in sizes)
    return {
        "s3": kind,
        "files": list(sizes),
        "directory_width": WIDTH,
        "rounds": {str(files): rows for files, rows in found.items()},
        "cpu_ratio": round(large["cpu_ms_a_changeset"] / small["cpu_ms_a_changeset"], 3),
        "time_ratio": round(small["landed_per_s"] / large["landed_per_s"], 3),
    }


def _median(rows: list[Json]) -> Json:
    middle = len(rows) // 2
    return {name: sorted(row[name] for row in rows)[middle] for name in rows[0]}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1] if len(sys.argv) > 1 else "auto", "--quick" in sys.argv), indent=1))
