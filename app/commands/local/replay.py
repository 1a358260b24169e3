"""`sluice replay`: a real history as load, with Git as the judge."""

from pathlib import Path

import click

from app.console.load_runs import begin, client_of, finish
from app.console.options import as_json, console, s3_kind, tell
from app.console.progress import progress_bars
from app.demo.report import Report, sentences
from app.demo.run import Replay
from app.judge import History

_PROBLEMS = 10


@click.command()
@click.argument("repository", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--writers", default=16, show_default=True, type=click.IntRange(1, 256), help="Concurrent writers.")
@click.option("--limit", type=click.IntRange(1), help="Replay only the last N commits; what was before is imported.")
@click.option("--bulk", default=50, show_default=True, type=click.IntRange(1, 1000), help="Changesets in a request.")
@click.option("--url", help="Replay against this API, of an empty repository, instead of a stack of its own.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the stack; kept afterwards.")
@s3_kind
@as_json
def command(
    repository: Path,
    writers: int,
    limit: int | None,
    bulk: int,
    url: str | None,
    data: Path | None,
    s3: str,
    as_json: bool,
) -> None:
    """Land a local Git REPOSITORY's history, from concurrent writers.

    An early commit of the first-parent line is imported; every later commit's changes are submitted, each top-level
    directory as a slice of its own, in order and without waiting for outcomes. At the end the tree that Sluice built
    is compared with the repository's own. A bare repository will do.

    Example: sluice replay ~/src/click --limit 500 --writers 16
    """
    begin()
    with (
        History(repository) as history,
        client_of(url, writers, s3, data) as client,
        progress_bars() as progress,
    ):
        report = Replay(history, client, writers, limit, bulk, progress).run()
    for problem in report.problems[:_PROBLEMS]:
        for line in sentences(problem):
            tell(line, "red")
    finish(report, show, as_json)


def show(report: Report) -> None:
    """Print what a replay came to, for a person."""
    console.print(f"[bold]{report.landed}[/] of {report.changesets} changesets landed in {report.seconds:.1f} s"
                  f" ([bold]{report.per_second:.0f}[/] a second), in {report.merged} batches;"
                  f" {report.conflicted} conflicted, {report.rejected} rejected")  # fmt: skip
    same = "[bold green]the same[/]" if report.match else "[bold red]NOT the same[/]"
    console.print(f"tree {report.tree}\nGit's {report.expected}: {same}")
