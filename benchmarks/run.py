"""`make bench`: peers, Sluice, scaling, sharing, tokens, rebuilding, clone stores and more; tables, and JSON.

The figures mean what docs/benchmarks.md says. Every result is proved before it has a time: a run that is disproved
ends with an error and without figures.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import psutil

from app.stack.servers import find_redis, find_s3
from benchmarks import (
    far,
    flood,
    importing,
    landing,
    projection,
    reads,
    rebuild,
    scaling,
    sharing,
    stalled,
    tokens,
    wide,
)
from benchmarks.clones import run as clones
from benchmarks.contention import run as contention
from benchmarks.figures import Disproved, Figure, rounded
from benchmarks.peers import git_fast_import, git_merge_tree, git_push_race, pygit2_loose
from benchmarks.pushes import run as pushes
from benchmarks.repos import Repo
from benchmarks.show import QUIET, say, show
from benchmarks.toxiproxy import HOW, PROGRAM, VARIABLE, find_toxiproxy
from benchmarks.workload import Workload

SCHEMA = 1
SEED = 1
# The digest of the whole input with SEED: another one means another input, and figures that compare with nothing.
PINNED = "cc0fef8587318f89e0e735ac937b93a8c0588039c04c1f455e9801e2fd548854"
YARDSTICK = "git push race"
# The yardstick is a few dozen pushes that won, so a ratio to it has no more digits than this.
_RATIO_DIGITS = 2
OUT = Path(__file__).parent / "results.json"
# Seconds in which the machine is watched before a part.
WATCHED = 2.0
_PACKAGES = ("gitsluice", "celery", "flask", "gevent", "gunicorn", "minio", "pygit2", "redis")


@dataclass(frozen=True)
class Plan:
    """How much of everything is run."""

    workload: Workload
    race_seconds: float
    merges: int
    loose: int
    imported: int
    phases: Mapping[str, landing.Phase]
    rounds: int
    large_files: int
    scaling_rounds: int
    sharers: int
    token_rounds: int
    grants: int
    rebuilt: int
    projected: int
    followed: int
    read_workload: Workload
    agents: Mapping[int, int]
    pushing: int
    pushing_seconds: float
    wide_files: int
    wide_small: int
    wide_rounds: int
    far_workload: Workload
    far_phases: Mapping[str, landing.Phase]
    far_latencies: Sequence[int]
    far_seconds: float
    flood: flood.Plan
    clones: clones.Plan
    pushes: pushes.Plan
    histories: Sequence[Path] = (importing.HERE,)
    s3: str = "auto"


FULL = Plan(
    workload=Workload(seed=SEED),
    race_seconds=25.0,
    merges=600,
    loose=3000,
    imported=5000,
    phases=landing.PHASES,
    rounds=3,
    large_files=200_000,
    scaling_rounds=5,
    sharers=1_000,
    token_rounds=10,
    grants=tokens.GRANTS,
    rebuilt=100_000,
    projected=10_000,
    followed=100,
    read_workload=dataclasses.replace(reads.WORKLOAD, seed=SEED),
    agents=contention.AGENTS,
    pushing=contention.PUSHERS,
    pushing_seconds=20.0,
    wide_files=wide.FILES,
    wide_small=wide.SMALL_FILES,
    wide_rounds=3,
    # Bulk takes twice the changesets: its end, which is some latencies long, would weigh too much.
    far_workload=Workload(files=20_000, seed=SEED),
    far_phases={
        **landing.PHASES,
        "bulk": dataclasses.replace(landing.PHASES["bulk"], count=10_000),
        "1": dataclasses.replace(landing.PHASES["1"], count=500),
        "alone": dataclasses.replace(landing.PHASES["alone"], count=100),
    },
    far_latencies=far.LATENCIES,
    far_seconds=far.SECONDS,
    flood=flood.Plan(),
    clones=clones.Plan(),
    pushes=pushes.Plan(),
)
# Enough to see that all of it works, and the order of magnitude.
QUICK = Plan(
    workload=Workload(files=2000, seed=SEED),
    race_seconds=8.0,
    merges=100,
    loose=500,
    imported=1000,
    phases=landing.QUICK,
    rounds=1,
    large_files=20_000,
    scaling_rounds=2,
    sharers=100,
    token_rounds=2,
    grants=1_000,
    rebuilt=2_000,
    projected=1_000,
    followed=10,
    read_workload=dataclasses.replace(reads.WORKLOAD, files=5_000, seed=SEED),
    agents=contention.QUICK,
    pushing=8,
    pushing_seconds=5.0,
    wide_files=50_000,
    wide_small=wide.SMALL_FILES,
    wide_rounds=1,
    far_workload=Workload(files=2000, seed=SEED),
    far_phases=landing.QUICK,
    far_latencies=(0, 180),
    far_seconds=3.0,
    flood=flood.QUICK,
    clones=clones.QUICK,
    pushes=pushes.QUICK,
)


def _peers(plan: Plan, folder: Path) -> list[Figure]:
    say("making the peers' repository")
    seed_repo = Repo.create(folder / "seed.git", plan.workload)
    say(f"git push race, for {plan.race_seconds:g} seconds")
    figures = [git_push_race.run(seed_repo, folder, plan.workload, seconds=plan.race_seconds)]
    if git_merge_tree.available():
        say("git merge-tree")
        figures.append(git_merge_tree.run(seed_repo, folder, plan.workload, count=plan.merges))
    else:
        say("git merge-tree: left out, it needs Git 2.38")
    say("pygit2")
    figures.append(pygit2_loose.run(seed_repo, folder, plan.workload, count=plan.loose))
    say("git fast-import")
    figures.append(git_fast_import.run(seed_repo, folder, plan.workload, count=plan.imported))
    return figures


def _landing(plan: Plan, folder: Path) -> list[Figure]:
    phases, imported = list(plan.phases.values()), plan.imported
    return landing.run(plan.workload, folder, say, phases=phases, rounds=plan.rounds, imported=imported, s3=plan.s3)


def _contention(plan: Plan, folder: Path) -> list[Figure]:
    return contention.run(
        folder,
        say,
        workload=dataclasses.replace(contention.WORKLOAD, seed=SEED),
        agents=plan.agents,
        pushing=plan.pushing,
        seconds=plan.pushing_seconds,
        rounds=plan.rounds,
        s3=plan.s3,
    )


def _far(plan: Plan, folder: Path) -> list[Figure]:
    return far.run(
        plan.far_workload,
        folder,
        say,
        _toxiproxy(),
        phases=plan.far_phases,
        added=plan.far_latencies,
        rounds=plan.rounds,
        seconds=plan.far_seconds,
        s3=plan.s3,
    )


def _toxiproxy() -> str:
    program = find_toxiproxy()
    if program is None:
        raise click.ClickException(f"no toxiproxy: put {PROGRAM} on PATH, or name it in {VARIABLE} ({HOW})")
    return program


def _wide(plan: Plan, folder: Path) -> list[Figure]:
    files, small = plan.wide_files, plan.wide_small
    return wide.run(folder, say, files=files, small_files=small, rounds=plan.wide_rounds, seed=SEED, s3=plan.s3)


def _scaling(plan: Plan, folder: Path) -> list[Figure]:
    return scaling.run(folder, say, large_files=plan.large_files, rounds=plan.scaling_rounds, seed=SEED, s3=plan.s3)


def _sharing(plan: Plan, folder: Path) -> list[Figure]:
    return sharing.run(folder, say, slices=plan.sharers, rounds=plan.scaling_rounds, seed=SEED, s3=plan.s3)


def _stalled(plan: Plan, folder: Path) -> list[Figure]:
    return stalled.run(folder, say, rounds=plan.scaling_rounds, s3=plan.s3)


def _tokens(plan: Plan, folder: Path) -> list[Figure]:
    phases = [phase for name, phase in plan.phases.items() if name in ("bulk", "64")]
    rounds, all_grants = plan.token_rounds, plan.grants
    return tokens.run(plan.workload, folder, say, phases=phases, rounds=rounds, grants_in_all=all_grants, s3=plan.s3)


def _flood(plan: Plan, folder: Path) -> list[Figure]:
    return flood.run(folder, say, rounds=plan.rounds, plan=plan.flood, s3=plan.s3)


def _rebuild(plan: Plan, folder: Path) -> list[Figure]:
    return rebuild.run(plan.workload, folder, say, changesets=plan.rebuilt, s3=plan.s3)


def _projection(plan: Plan, folder: Path) -> list[Figure]:
    return projection.run(plan.workload, folder, say, changesets=plan.projected, single=plan.followed, s3=plan.s3)


def _reads(plan: Plan, folder: Path) -> list[Figure]:
    return reads.run(plan.read_workload, folder, say, rounds=plan.rounds, s3=plan.s3)


def _import(plan: Plan, folder: Path) -> list[Figure]:
    return importing.run(folder, say, histories=plan.histories, rounds=plan.rounds, s3=plan.s3)


def _clones(plan: Plan, folder: Path) -> list[Figure]:
    return clones.run(plan.workload, folder, say, rounds=plan.rounds, plan=plan.clones, s3=plan.s3)


def _pushes(plan: Plan, folder: Path) -> list[Figure]:
    return pushes.run(plan.workload, folder, say, rounds=plan.rounds, plan=plan.pushes, s3=plan.s3)


# In the order in which they are run.
PARTS: dict[str, Callable[[Plan, Path], list[Figure]]] = {
    "peers": _peers,
    "landing": _landing,
    "contention": _contention,
    "scaling": _scaling,
    "sharing": _sharing,
    "stalled": _stalled,
    "tokens": _tokens,
    "flood": _flood,
    "rebuild": _rebuild,
    "projection": _projection,
    "reads": _reads,
    "clones": _clones,
    "pushes": _pushes,
    "far": _far,
    "wide": _wide,
    "import": _import,
}
# Those that take long, and are run where they are asked for.
LONG = {"far", "wide", "clones", "pushes", "import"}


@click.command()
@click.option("--quick", is_flag=True, help="Use a small repository and few changesets: a minute or so for each part.")
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
@click.option(
    "--only",
    type=click.Choice(list(PARTS)),
    multiple=True,
    help="Run only this part; repeatable. Default: all but far, wide, clones, pushes and import.",
)
@click.option(
    "--phase",
    type=click.Choice(list(landing.PHASES)),
    multiple=True,
    help="Of landing, tokens and far, run only this phase: bulk, alone, or so many clients; repeatable.",
)
@click.option(
    "--rounds", type=click.IntRange(min=1), help="Rounds of landing, contention, tokens, reads, far, wide, import."
)
@click.option("--landings", type=click.IntRange(min=1), help="Of clones, changesets that land before.")
@click.option(
    "--clients", type=click.IntRange(min=1), multiple=True, help="Of clones, so many clients; repeatable. Default: all."
)
@click.option("--files", type=click.IntRange(min=wide.LEAST_FILES), help="Of wide, files in the large repository.")
@click.option(
    "--history",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    help="Of import, a Git repository to import; repeatable. Default: this checkout's own.",
)
def main(
    quick: bool,
    s3: str,
    out: Path,
    only: tuple[str, ...],
    phase: tuple[str, ...],
    rounds: int | None,
    landings: int | None,
    clients: tuple[int, ...],
    files: int | None,
    history: tuple[Path, ...],
) -> None:
    """Measure Sluice, and other ways to land changes; prints tables, and writes JSON (see docs/benchmarks.md).

    Example: python -m benchmarks --quick --only landing --phase bulk --phase 64
    """
    plan = QUICK if quick else FULL
    count = plan.workload.files // 2
    digest = plan.workload.digest(count)
    if plan is FULL and digest != PINNED:
        raise click.ClickException(f"the input's hash is {digest}, it is pinned to {PINNED}")
    s3 = find_s3(s3)[0]
    parts = set(only or PARTS.keys() - LONG)
    if "far" in parts:
        _toxiproxy()
    plan = dataclasses.replace(
        plan,
        s3=s3,
        phases=_chosen(plan.phases, phase),
        far_phases=_chosen(plan.far_phases, phase),
        rounds=rounds or plan.rounds,
        token_rounds=rounds or plan.token_rounds,
        wide_rounds=rounds or plan.wide_rounds,
        wide_files=files or plan.wide_files,
        histories=history or plan.histories,
        clones=dataclasses.replace(
            plan.clones, changesets=landings or plan.clones.changesets, clients=clients or plan.clones.clients
        ),
    )
    say(f"input: {plan.workload.files:,} files, {count:,} changesets, SHA-256 {digest}")
    machine, started = _machine(), time.monotonic()
    figures: list[Figure] = []
    others: dict[str, float] = {}
    try:
        # Git's own temporary files go there too.
        with tempfile.TemporaryDirectory(prefix="sluice-bench-") as name:
            for part, run in PARTS.items():
                if part in parts:
                    others[part] = _used_by_others(part)
                    folder = Path(name) / part
                    folder.mkdir()
                    figures += run(plan, folder)
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
    show(report)
    out.write_text(json.dumps(report, indent=1) + "\n")
    say(f"written to {out}")


def _chosen(phases: Mapping[str, landing.Phase], names: Sequence[str]) -> dict[str, landing.Phase]:
    return {name: phase for name, phase in phases.items() if name in (names or phases)}


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
        say(f"the machine is not quiet before {part}: others use {used:g} % of it; these figures will not compare")
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
