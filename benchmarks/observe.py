"""What the server spent: CPU time of a stack's processes, and the stages of its commit batches."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from app.stack.stack import Stack
from benchmarks.figures import Disproved


@dataclass(frozen=True)
class Spent:
    """What a process has used since it started."""

    pid: int
    seconds: float  # CPU time, its children's (ended ones too) among them


def cpu_seconds(stack: Stack) -> dict[str, Spent]:
    """Return what each process of a stack has used."""
    return {name: Spent(process.pid, _family(process.pid)) for name, process in stack.processes.items() if process.pid}


def cpu_between(before: dict[str, Spent], after: dict[str, Spent], changesets: int) -> dict[str, int]:
    """Return the CPU microseconds a changeset of each process between two readings, and their sum as `all`.

    Raises Disproved where a process ended in between: the stack starts it again, and what it had used is not known.
    """
    for name in before.keys() | after.keys():
        if name not in before or name not in after or before[name].pid != after[name].pid:
            raise Disproved(f"{name} did not live through what was measured")
    spent = {name: round(1e6 * (after[name].seconds - before[name].seconds) / changesets) for name in after}
    return {**spent, "all": sum(spent.values())}


def stages(stack: Stack, after: int) -> dict[str, Any]:
    """Return the commit batches behind log entry `after`: how many, their mean size, microseconds a changeset by stage.

    Stages of workers that run beside each other overlap: their sum may exceed the time that passed.
    """
    batches = [batch for batch in _batches(stack) if batch["seq"] > after]
    changesets = sum(batch["changesets"] for batch in batches)
    spent: Counter[str] = Counter()
    for batch in batches:
        spent.update({name.removesuffix("_us"): value for name, value in batch.items() if name.endswith("_us")})
    return {
        "batches": len(batches),
        "changesets_a_batch": round(changesets / len(batches), 1) if batches else 0.0,
        "stage_us": {name: round(value / changesets) for name, value in spent.items()},
    }


def _family(pid: int) -> float:
    leader = psutil.Process(pid)
    total = 0.0
    for process in leader.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended since it was listed, and is among the leader's ended ones
            times = process.cpu_times()
            total += times.user + times.system
    own = leader.cpu_times()
    return total + own.user + own.system + own.children_user + own.children_system


def _batches(stack: Stack) -> Iterator[dict[str, Any]]:
    """Yield the events `batch_committed` in the workers' logs, which other lines stand between."""
    for name in ("worker", "merger"):
        for line in stack.processes[name].logs().splitlines():
            start = line.find("{")
            if start < 0 or '"batch_committed"' not in line:
                continue
            event, _ = json.JSONDecoder().raw_decode(line[start:])
            if event["event"] == "batch_committed":
                yield event
