"""`make bench`: peers, Sluice, scaling, sharing, stalled clients, rebuilding, in one run; a table for people, and JSON.

The figures mean what docs/benchmarks.md says. Every result is proved before it has a time: a run that is disproved
ends with an error and without figures.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import psutil
from rich.console import Console
from rich.table import Table

from app.stack.servers import find_redis, find_s3
from benchmarks import landing, rebuild, scaling, sharing, stalled
from benchmarks.figures import Disproved, Figure, rounded
from benchmarks.peers import git_fast_import, git_merge_tree, git_push_race, pygit2_loose
from benchmarks.repos import Repo
from benchmarks.workload import Workload

SCHEMA = 1
SEED = 1
# The digest of the whole input with SEED: another one means another input, and figures that compare with nothing.
PINNED = "cc0fef8587318f89e0e735ac937b93a8c0588039c04c1f455e9801e2fd548854"
YARDSTICK = "git push race"
PARTS = ("peers", "landing", "scaling", "sharing", "stalled", "rebuild")
# The yardstick is a few dozen pushes that won, so a ratio to it has no more digits than this.
_RATIO_DIGITS = 2
OUT = Path(__file__).parent / "results.json"
# Seconds in which the machine is watched before a part, and the share of it that others may use: in percent.
WATCHED = 2.0
QUIET = 10.0
_PACKAGES = ("gitsluice", "celery", "flask", "gevent", "gunicorn", "minio", "pygit2", "redis")


@dataclass(frozen=True)
class Plan:
    """How much of everything is run."""

    workload: Workload
    race_seconds: float
    merges: int
    loose: int
    imported: int
    phases: Sequence[landing.Phase]
    rounds: int
    large_files: int
    scaling_rounds: int
    sharers: int
    rebuilt: int


FULL = Plan(Workload(seed=SEED), 25.0, 600, 3000, 5000, landing.PHASES, 3, 200_000, 5, 1_000, 100_000)
# Enough to see that all of it works, and the order of magnitude.
QUICK = Plan(Workload(files=2000, seed=SEED), 8.0, 100, 500, 1000, landing.QUICK, 1, 20_000, 2, 100, 2_000)

_LOG_WIDTH = 140
_progress = Console(stderr=True)


@click.command()
@click.option("--quick", is_flag=True, help="Use a small repository and few changesets: a minute instead of several.")
@click.option(
    "--s3",
    type=click.Choice(["auto", "minio", "seaweedfs"]),
    default="auto",
    help="S3 server; auto: MinIO if it is on PATH.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=OUT,
    help="Write the figures to this file, as JSON.",
)
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Run only this part; repeatable.")
def main(quick: bool, s3: str, out: Path, only: tuple[str, ...]) -> None:
    """Measure Sluice, and other ways to land changes; prints tables, and writes JSON (see docs/benchmarks.md).

    Example: python -m benchmarks --quick --only landing
    """
    plan = QUICK if quick else FULL
    parts = set(only or PARTS)
    s3 = find_s3(s3)[0]
    count = plan.workload.files // 2
    digest = plan.workload.digest(count)
    if plan is FULL and digest != PINNED:
        raise click.ClickException(f"the input's hash is {digest}, it is pinned to {PINNED}")
    _say(f"input: {plan.workload.files:,} files, {count:,} changesets, SHA-256 {digest}")
    machine, started = _machine(), time.monotonic()
    figures: list[Figure] = []
    others: dict[str, float] = {}
    try:
        # Git's own temporary files go there too.
        with tempfile.TemporaryDirectory(prefix="sluice-bench-") as name:
            if "peers" in parts:
                others["peers"] = _used_by_others("peers")
                figures += _peers(plan, Path(name))
            if "landing" in parts:
                others["landing"] = _used_by_others("landing")
                figures += landing.run(plan.workload, Path(name), _say, phases=plan.phases, rounds=plan.rounds, s3=s3)
            if "scaling" in parts:
                others["scaling"] = _used_by_others("scaling")
                figures += scaling.run(
                    Path(name), _say, large_files=plan.large_files, rounds=plan.scaling_rounds, seed=SEED, s3=s3
                )
            if "sharing" in parts:
                others["sharing"] = _used_by_others("sharing")
                figures += sharing.run(
                    Path(name), _say, slices=plan.sharers, rounds=plan.scaling_rounds, seed=SEED, s3=s3
                )
            if "stalled" in parts:
                others["stalled"] = _used_by_others("stalled")
                figures += stalled.run(Path(name), _say, rounds=plan.scaling_rounds, s3=s3)
            if "rebuild" in parts:
                others["rebuild"] = _used_by_others("rebuild")
                figures += rebuild.run(plan.workload, Path(name), _say, changesets=plan.rebuilt, s3=s3)
    except Disproved as error:
        raise click.ClickException(f"disproved: {error}") from error
    report = {
        "schema": SCHEMA,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "seconds": round(time.monotonic() - started),
        "machine": {**machine, "others_percent": others},
        "versions": _versions(s3),
        "workload": {"files": plan.workload.files, "changesets": count, "seed": SEED, "sha256": digest},
        "figures": [_with_ratio(figure, figures) for figure in figures],
    }
    _show(report)
    out.write_text(json.dumps(report, indent=1) + "\n")
    _say(f"written to {out}")


def _peers(plan: Plan, folder: Path) -> list[Figure]:
    _say("making the peers' repository")
    seed_repo = Repo.create(folder / "seed.git", plan.workload)
    _say(f"git push race, for {plan.race_seconds:g} seconds")
    figures = [git_push_race.run(seed_repo, folder, plan.workload, seconds=plan.race_seconds)]
    if git_merge_tree.available():
        _say("git merge-tree")
        figures.append(git_merge_tree.run(seed_repo, folder, plan.workload, count=plan.merges))
    else:
        _say("git merge-tree: left out, it needs Git 2.38")
    _say("pygit2")
    figures.append(pygit2_loose.run(seed_repo, folder, plan.workload, count=plan.loose))
    _say("git fast-import")
    figures.append(git_fast_import.run(seed_repo, folder, plan.workload, count=plan.imported))
    return figures


def _with_ratio(figure: Figure, figures: Sequence[Figure]) -> dict[str, Any]:
    """Return the figure's JSON, with how many times the push race it lands."""
    race = next((figure.value for figure in figures if figure.name == YARDSTICK), None)
    shown = figure.to_json()
    if race and figure.unit == "landed/s":
        shown["times_push_race"] = rounded(figure.value / race, _RATIO_DIGITS)
    return shown


# --- Where it ran -----------------------------------------------------------------------------------------------------


def _machine() -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "processor": _processor(),
        # Before anything is measured here: where it is high, others are at work.
        "load": [round(average, 2) for average in os.getloadavg()],
    }


def _used_by_others(part: str) -> float:
    """Return the percentage of all cores that is in use before a part, when nothing of ours runs; says if it is much.

    Load averages cannot tell: between parts they are still our own.
    """
    used = psutil.cpu_percent(interval=WATCHED)
    if used > QUIET:
        _say(f"the machine is not quiet before {part}: others use {used:g} % of it; these figures will not compare")
    return used


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _versions(s3: str) -> dict[str, str]:
    program = find_s3(s3)[1]
    asked = {
        "git": ["git", "--version"],
        "redis-server": [find_redis(), "--version"],
        f"{s3}-server": [program, "--version" if s3 == "minio" else "version"],
        "commit": ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
    }
    versions = {name: _first_line(argv) for name, argv in asked.items()}
    return {"python": platform.python_version(), **versions, **{name: version(name) for name in _PACKAGES}}


def _first_line(argv: list[str]) -> str:
    """Return what a program says first; nothing where it fails (a release is no Git checkout)."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    return (done.stdout.strip().splitlines() or [""])[0] if done.returncode == 0 else ""


# --- Showing ----------------------------------------------------------------------------------------------------------


def _say(what: str) -> None:
    _progress.print(f"[dim]{what}[/dim]", highlight=False)


def _show(report: dict[str, Any]) -> None:
    console = Console()
    if not console.is_terminal:  # a log has no width of its own
        console = Console(width=_LOG_WIDTH)
    machine, input_ = report["machine"], report["workload"]
    rates = Table(
        title=f"Landing: {machine['cores']} cores, {input_['files']:,} files, 2 files a changeset", title_justify="left"
    )
    for name in ("", "how", "landed/s", "lowest-highest", "× push race", "to committed", "to landed", "throttled"):
        rates.add_column(name, justify="left" if name in {"", "how"} else "right")
    stages = Table(title="Commit batches: microseconds a changeset, by stage", title_justify="left")
    costs = Table(
        title="Scaling, sharing, stalled clients: what it costs in the hard place, to the plain one",
        title_justify="left",
    )
    for name in ("", "ratio", "of each round", "goal"):
        costs.add_column(name)
    times = Table(title="Loading the view from the bucket alone", title_justify="left")
    for name in ("", "of", "seconds"):
        times.add_column(name)
    for figure in report["figures"]:
        if figure["unit"] == "seconds":
            times.add_row(figure["name"], figure["axis"], f"{figure['value']:.1f}")
            continue
        if figure["unit"] == "ratio":
            ratios = " ".join(f"{ratio:.2f}" for ratio in figure["rounds"])
            costs.add_row(figure["name"], f"{figure['value']:.2f}", ratios, f"≤ {figure['goal']}")
            continue
        rates.add_row(*_rate_row(figure))
    _add_stages(stages, [figure for figure in report["figures"] if "latency_ms" in figure])
    for table in (rates, stages, costs, times):
        if table.row_count:
            console.print(table)
    for part, used in machine["others_percent"].items():
        if used > QUIET:
            console.print(f"Not quiet before {part}: others used {used:g} % of the machine.", style="bold red")
    console.print(
        f"Latencies are p50 / p99 in ms. Input {input_['sha256'][:12]}, seed {input_['seed']}.", highlight=False
    )


def _rate_row(figure: dict[str, Any]) -> list[str]:
    ends = f"{min(figure['rounds']):,.4g}-{max(figure['rounds']):,.4g}" if len(figure["rounds"]) > 1 else ""
    times = f"{figure['times_push_race']:,.0f}" if "times_push_race" in figure else ""
    waits = [figure.get("latency_ms", {}).get(name, {}) for name in ("committed", "landed")]
    shown = [f"{wait['p50']:,.0f} / {wait['p99']:,.0f}" if wait else "" for wait in waits]
    return [
        figure["name"],
        figure["axis"],
        f"{figure['value']:,.4g}",
        ends,
        times,
        *shown,
        str(figure.get("waited", "")),
    ]


def _add_stages(table: Table, figures: Sequence[dict[str, Any]]) -> None:
    """Fill the table of stages with each phase's last round."""
    last = [figure["server"][-1] for figure in figures]
    for name in ("", *[figure["name"] for figure in figures]) if last else ():
        table.add_column(name, justify="right" if name else "left")
    for name in dict.fromkeys(name for phase in last for name in phase["stage_us"]):
        table.add_row(name, *[str(phase["stage_us"].get(name, "")) for phase in last])
    if last:
        table.add_section()
        for name in last[0]["cpu_us"]:
            table.add_row(f"CPU, {name}", *[str(phase["cpu_us"].get(name, "")) for phase in last])
        table.add_row("changesets a batch", *[str(phase["changesets_a_batch"]) for phase in last])
