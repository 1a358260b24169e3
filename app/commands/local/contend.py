"""`sluice contend`: many writers on one base, and every conflict reported and resolved."""

from __future__ import annotations

import signal
from contextlib import ExitStack

import click
from rich.table import Table

from app.client.api_client import Client
from app.console import exit_codes
from app.console.options import as_json, console, emit, end, log_events, s3_kind, tell
from app.console.progress import Bars, progress_bars
from app.demo.contend import Contest, Report

_PATIENCE = 60.0


@click.command()
@click.option("--writers", default=99, show_default=True, type=click.IntRange(3, 300), help="Writers, in three groups.")
@click.option("--url", help="Against this API, of a repository that nobody else uses, instead of a stack of its own.")
@s3_kind
@as_json
def command(writers: int, url: str | None, s3: str, as_json: bool) -> None:
    """Let many writers change one base at once, on overlapping slices.

    A third of them have a file each, a third a region each in shared files, and a third all want the same line. All of
    the first two land, the second merged; of the last one lands, and every other gets the lines that collide,
    resolves them through the API, and lands.

    Example: sluice contend --writers 99
    """
    # Like Ctrl-C: the stack is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    log_events()
    with ExitStack() as opened:
        if url is None:
            from app.stack import Stack  # what runs a stack is imported only where one is run
            from app.stack.limits import limits

            stack = opened.enter_context(Stack(settings=limits(), s3=s3, with_flower=False))
            log_events(stack.settings)
            url = stack.url
        bars = opened.enter_context(progress_bars())
        report = Contest(Client(url, retry_for=_PATIENCE, connections=writers + 2), writers, Bars(bars)).run()
    for problem in report.problems[:20]:
        tell(problem, "red")
    if as_json:
        emit(report.to_json())
    else:
        show(report)
    if not report.ok:
        end(exit_codes.WRONG)


def show(report: Report) -> None:
    """Print a report for a person."""
    table = Table(title=f"{report.writers} writers at once on one base")
    for name in ("each has", "writers", "landed", "merged", "conflicted", "explained", "resolved", "tries"):
        table.add_column(name, justify="left" if name == "each has" else "right")
    for group in report.groups.values():
        counts = (
            group.writers,
            group.landed,
            group.merged,
            group.conflicted,
            group.explained,
            group.resolved,
            group.rounds,
        )
        table.add_row(group.about, *map(str, counts))
    console.print(table)
    console.print(
        f"written in {report.seconds:.2f} s, resolved one after the other in {report.resolving_seconds:.2f} s: "
        + ("[bold green]every writer's work is there[/]" if report.ok else "[bold red]NOT as it should be[/]")
    )
