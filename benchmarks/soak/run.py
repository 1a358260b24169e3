"""`make soak`: half of what a stack can take, for long; a table of what is flat and what grows, and JSON at the end.

Samples are written as JSON lines while it runs, so that a run that was cut off can be judged too (`--judge`).
docs/benchmarks.md says what is measured and how it is judged.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from app.stack.servers import find_s3
from benchmarks.landing import site
from benchmarks.soak import show
from benchmarks.soak.generator import LoadFailed
from benchmarks.soak.soaking import FLOWER_TASKS, Soak, settings_of_soak
from benchmarks.soak.verdict import report
from benchmarks.workload import Workload

Json = dict[str, Any]

OUT = Path(__file__).parent.parent / "soak.jsonl"
_MINUTE = 60.0
_CLIENTS = 16
_IDLE_SECONDS = 20.0


@click.command()
@click.option("--minutes", type=float, default=30.0, show_default=True, help="Length of the run.")
@click.option(
    "--rate", default="auto", show_default=True, help="Changesets per second; auto: half of the maximal rate."
)
@click.option("--measure", type=float, default=20.0, show_default=True, help="Seconds to measure the maximal rate.")
@click.option("--warm-up", type=float, default=None, help="Seconds that are not judged. Default: a third, at most 600.")
@click.option(
    "--s3",
    type=click.Choice(["auto", "minio", "seaweedfs"]),
    default="auto",
    help="S3 server; auto: MinIO if it is on PATH.",
)
@click.option("--files", type=int, default=10_000, show_default=True, help="Number of files in the repository.")
@click.option("--clients", type=int, default=_CLIENTS, show_default=True, help="Number of clients that submit.")
@click.option("--bulk", type=int, default=0, show_default=True, help="Bulk requests per 100 operations.")
@click.option("--every", type=float, default=5.0, show_default=True, help="Seconds between samples.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=OUT,
    help="Write the samples to this file, as JSON lines.",
)
@click.option(
    "--judge", type=click.Path(exists=True, path_type=Path), help="Run nothing; judge the samples of an earlier run."
)
def main(
    minutes: float,
    rate: str,
    measure: float,
    warm_up: float | None,
    s3: str,
    files: int,
    clients: int,
    bulk: int,
    every: float,
    out: Path,
    judge: Path | None,
) -> None:
    """Load a stack for long at half of its maximal rate, and show what grows; exit 1 if something does.

    Example: python -m benchmarks.soak --minutes 60
    """
    # So that it stops what it started, and leaves no folder behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if judge:
        header, samples = _read(judge)
        show_and_exit(samples, header["warm_up"] if warm_up is None else warm_up)
    warm_up = min(600.0, minutes * _MINUTE / 3) if warm_up is None else warm_up
    progress = Console(stderr=True)

    def say(what: str) -> None:
        progress.print(f"[dim]{what}[/dim]", highlight=False)

    workload, chosen, failure = Workload(files=files), settings_of_soak(), ""
    options: Json = {"s3": find_s3(s3)[0], "settings": chosen, "flower_tasks": FLOWER_TASKS}
    with (
        tempfile.TemporaryDirectory(prefix="sluice-soak-") as folder,
        out.open("w") as samples_file,
        site(workload, Path(folder) / "judge.git", say, **options) as bench,
    ):
        soak = Soak(bench, workload, samples_file, clients, bulk, every, say, min(_MINUTE, minutes * _MINUTE / 15))
        if rate == "auto":
            say(f"measuring the most, for {measure:g} seconds")
            most = soak.measure(measure)
            say(f"{most:.0f} changesets a second land; the soak has half of it")
        wanted = most / 2 if rate == "auto" else float(rate)
        header = {"rate": wanted, "warm_up": warm_up, "minutes": minutes, "settings": chosen, "s3": bench.stack.s3_kind}
        samples_file.write(json.dumps(header) + "\n")
        say(f"{wanted:.0f} changesets a second for {minutes:g} minutes; samples go to {out}")
        try:
            soak.run(wanted, minutes * _MINUTE, warm_up)
            soak.idle(_IDLE_SECONDS)
        except (LoadFailed, KeyboardInterrupt) as error:
            failure = f"the run was cut off: {str(error) or 'interrupted'}"
        restarts = {name: process.starts for name, process in bench.stack.processes.items() if process.starts > 1}
        if restarts:
            failure = failure or f"processes died and were started again: {restarts}"
    show_and_exit(soak.samples, warm_up, failure)


def _read(path: Path) -> tuple[Json, list[Json]]:
    """Return what a run wrote down: what it was, and its samples; a line that was cut off is none."""
    lines = path.read_text().splitlines(keepends=True)
    read = [json.loads(line) for line in lines if line.endswith("\n")]
    return read[0], read[1:]


def show_and_exit(samples: Sequence[Json], warm_up: float, failure: str = "") -> None:
    """Show what the samples say, and exit: with 1 where something is not flat, or the run failed."""
    verdict = report(samples, warm_up)
    show.show(verdict)
    if failure:
        click.echo(failure, err=True)
    click.echo(json.dumps(verdict.to_json() | {"failure": failure}))
    sys.exit(0 if verdict.flat and not failure else 1)
