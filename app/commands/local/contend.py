"""`sluice contend`: many writers on one base, and every conflict reported and resolved."""

from dataclasses import astuple

import click
from rich.table import Table

from app.console.load_runs import begin, client_of, finish
from app.console.options import as_json, console, s3_kind, tell
from app.console.progress import progress_bars
from app.demo.contend import Contest, Report

_PATIENCE = 60.0


@click.command()
@click.option("--writers", default=99, show_default=True, type=click.IntRange(3, 300), help="Writers, in three groups.")
@click.option("--url", help="Use this API, of a repository that nobody else uses, instead of a temporary stack.")
@s3_kind
@as_json
def command(writers: int, url: str | None, s3: str, as_json: bool) -> None:
    """Let many writers change the same base at once, on overlapping slices, and resolve their conflicts.

    A third of the writers change a file each, a third a region each of shared files, and a third the same line. All of
    the first two groups land, the second merged. Of the last group one lands; the others are conflicted, resolve that
    through the API, and land.

    Example: sluice contend --writers 99
    """
    begin()
    with client_of(url, writers, s3, patience=_PATIENCE) as client, progress_bars() as progress:
        report = Contest(client, writers, progress).run()
    for problem in report.problems[:20]:
        tell(problem, "red")
    finish(report, show, as_json)


def show(report: Report) -> None:
    """Print a report for a person."""
    table = Table(title=f"{report.writers} writers at once on one base")
    # The columns are the fields of a group.
    for name in ("each has", "writers", "landed", "merged", "conflicted", "explained", "resolved", "tries"):
        table.add_column(name, justify="left" if name == "each has" else "right")
    for group in report.groups.values():
        table.add_row(*map(str, astuple(group)))
    console.print(table)
    console.print(
        f"written in {report.seconds:.2f} s, resolved one after the other in {report.resolving_seconds:.2f} s: "
        + ("[bold green]every writer's work is there[/]" if report.ok else "[bold red]NOT as it should be[/]")
    )
