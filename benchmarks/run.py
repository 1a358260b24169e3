"""`make bench`: every figure, the peers beside ours in the same run, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from app.stack.servers import find_s3
from benchmarks import landing, scaling
from benchmarks.peers import git_fast_import, git_merge_tree, git_push_race, pygit2_loose
from benchmarks.workload import Changeset, Workload, expected_tree, import_into

Json = dict[str, Any]
Peer = Callable[[Path, Path, list[Changeset]], tuple[int, float, str]]

console = Console()


@click.command()
@click.option("--s3", default="auto", type=click.Choice(["auto", "minio", "seaweedfs"]), show_default=True)
@click.option("--quick", is_flag=True, help="A quarter of the work: to see that it runs, not for figures to quote.")
@click.option("--scaling/--no-scaling", "with_scaling", default=True, help="Compare 2,000 and 200,000 files too.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures as JSON here.")
def main(s3: str, quick: bool, with_scaling: bool, out: Path | None) -> None:
    """Measure Sluice and its peers on this machine."""
    figures: Json = {"machine": machine(s3), "workload": {}, "peers": peers(quick)}
    workload = Workload()
    figures["workload"] = {"files": len(workload.paths), "seed": workload.seed, "sha256": workload.digest(1000)}
    console.print("landing …")
    figures["landing"] = landing.run(s3, quick)
    if with_scaling:
        console.print("scaling …")
        figures["scaling"] = scaling.run(s3, quick)
    show(figures)
    if out:
        out.write_text(json.dumps(figures, indent=1) + "\n")


def peers(quick: bool) -> Json:
    """Measure the peers; each one's final tree is compared before its figure counts."""
    workload = Workload()
    scale = 4 if quick else 1
    plan: list[tuple[str, Peer, int]] = [
        ("git merge-tree + commit-tree + update-ref", git_merge_tree.run, 200 // scale),
        ("pygit2, one process, loose objects", pygit2_loose.run, 1000 // scale),
        ("git fast-import, local, no checks", git_fast_import.run, 4000 // scale),
    ]
    found: Json = {}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base.git"
        import_into(base, workload)
        console.print("peer: 16 clones pushing to one branch …")
        count, seconds = git_push_race.run(base, Path(folder), list(workload.changesets(500)), seconds=25 / scale)
        found["16 clones pushing to one Git branch"] = round(count / seconds, 2)
        for name, run, count in plan:
            console.print(f"peer: {name} …")
            changesets = list(workload.changesets(count))
            done, seconds, tree = run(base, Path(folder), changesets)
            if tree != expected_tree(base, iter(changesets)):
                raise click.ClickException(f"{name}: the tree is wrong")
            found[name] = round(done / seconds, 1)
    return found


def machine(s3: str) -> Json:
    """Return what was measured on."""
    kind, program = find_s3(s3)
    flag = "version" if kind == "seaweedfs" else "--version"
    version = subprocess.run([program, flag], capture_output=True, text=True, check=False).stdout.splitlines()
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "git": git,
        "s3": f"{kind}: {version[0] if version else 'unknown'}",
    }


def show(figures: Json) -> None:
    """Print the figures as tables, with ratios to the push race."""
    race = figures["peers"]["16 clones pushing to one Git branch"]
    table = Table(title="Landed changesets a second (2 files of 2 KB each, 10,000 files)")
    for column in ("", "landed/s", "against the push race", "accepted p50/p99", "committed p50/p99", "landed p50/p99"):
        table.add_column(column, justify="left" if not column else "right")
    for name, rate in figures["peers"].items():
        table.add_row(name, f"{rate:,}", f"{rate / race:,.0f} x" if race else "")
    for way in figures["landing"]["ways"]:
        latencies = [_pair(way[f"{each}_ms"]) for each in ("accepted", "committed", "landed")]
        rate = way["landed_per_s"]
        table.add_row(f"[bold]Sluice, {way['way']}[/]", f"{rate:,.0f}", f"{rate / race:,.0f} x" if race else "", *latencies)
    console.print(table)
    stages = figures["landing"]["stages"]
    console.print(f"microseconds a changeset in the workers ({stages['batches']} batches): {stages['us_a_changeset']}")
    if "scaling" in figures:
        found = figures["scaling"]
        console.print(
            f"{found['files'][1]:,} files against {found['files'][0]:,}: CPU a changeset x {found['cpu_ratio']},"
            f" time x {found['time_ratio']}"
        )


def _pair(latency: Json) -> str:
    return f"{latency['p50']:.0f} / {latency['p99']:.0f} ms" if latency else ""


if __name__ == "__main__":
    main()
