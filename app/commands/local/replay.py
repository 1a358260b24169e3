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
@click.option("--limit", type=click.IntRange(1), help="Replay only the last N commits; import what was before.")
@click.option("--bulk", default=50, show_default=True, type=click.IntRange(1, 1000), help="Changesets per request.")
@click.option("--url", help="Use this API, of an empty repository, instead of a temporary stack.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Keep the stack's data in this folder.")
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
    """Submit the history of the local Git REPOSITORY from concurrent writers, and compare the result.

    An early commit of the first-parent line is imported. The changes of every later commit are submitted in order, each
    top-level directory as a slice of its own, without waiting for outcomes. At the end Sluice's tree is compared with
    the repository's. The repository may be bare.

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
