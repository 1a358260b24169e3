"""The run: a stack of default settings, one load after another, and the peak of each process under each."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import click

from app.stack.stack import Stack
from benchmarks.memory.loads import Loads
from benchmarks.memory.peaks import Peaks, watched

# Seconds for which nothing is done, first of all.
_IDLE = 5.0


@click.command(context_settings={"help_option_names": ["--help", "-h"]})
@click.option("--s3", type=click.Choice(["auto", "minio", "seaweedfs"]), default="auto", help="The S3 server.")
@click.option("--only", metavar="WORDS", multiple=True, help="Only loads whose names have these words.")
@click.option("--scale", type=click.FloatRange(0.01, 1.0), default=1.0, help="Part of each load, to try it out.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON to this file too.")
def main(s3: str, only: tuple[str, ...], scale: float, out: Path | None) -> None:
    """Measure how much memory each process takes under the heaviest load that the limits allow.

    Prints MiB by process and load, and a line of JSON. A process counts with all that it forks. It takes 10 minutes.

    Example: python -m benchmarks.memory --only merges --s3 minio
    """
    peaks = run(s3, only, scale)
    click.echo(table(peaks))
    line = json.dumps({load: {"family": each.families, "largest": each.members} for load, each in peaks.items()})
    click.echo(line)
    if out:
        out.write_text(line + "\n")


def run(s3: str, only: tuple[str, ...] = (), scale: float = 1.0, **options: Any) -> dict[str, Peaks]:
    """Return the peaks of each load. Raises Refused where the server refuses what is within its limits."""
    peaks: dict[str, Peaks] = {}
    with Stack(s3=s3, **options) as stack:
        loads = Loads(stack, scale)
        with watched(stack) as peaks["idle"]:
            threading.Event().wait(_IDLE * scale)
        for name, load in loads.all().items():
            if not only or any(words in name for words in only):
                click.echo(name, err=True)
                with watched(stack) as peaks[name]:
                    load()
    return peaks


def table(peaks: dict[str, Peaks]) -> str:
    """Return the peaks as a table in Markdown: MiB of each process with all that it forked, by load."""
    names = list(dict.fromkeys(name for each in peaks.values() for name in each.families))
    rows = [["load", *names], ["---", *("---:" for _ in names)]]
    rows += [[load, *(_mib(each.families.get(name)) for name in names)] for load, each in peaks.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _mib(size: int | None) -> str:
    return "" if size is None else f"{size / (1 << 20):,.0f}"
