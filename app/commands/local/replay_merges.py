"""`sluice replay-merges`: a repository's real merges as load, with Git's own three-way merge as the judge."""

from collections import Counter
from pathlib import Path

import click

from app.console.load_runs import begin, client_of, finish
from app.console.options import as_json, console, s3_kind, tell
from app.console.progress import progress_bars
from app.demo.merge_report import MergeReport
from app.demo.merge_run import MergeReplay, read_cases
from app.judge import Judge, MergeHistory


@click.command("replay-merges")
@click.argument("repository", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--writers", default=8, show_default=True, type=click.IntRange(1, 256), help="Concurrent writers.")
@click.option("--limit", type=click.IntRange(1), help="Compare at most the newest N merges, without skipped ones.")
@click.option("--url", help="Use this API, of an empty repository, instead of a temporary stack.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Keep the stack's data in this folder.")
@s3_kind
@as_json
def command(
    repository: Path, writers: int, limit: int | None, url: str | None, data: Path | None, s3: str, as_json: bool
) -> None:
    """Repeat the merges of the local Git REPOSITORY in Sluice, and compare the results with Git.

    Takes the merge commits with two parents that HEAD reaches, newest first. Both parents' changes since their merge
    base (of several, the first that `git merge-base` prints) are submitted as changesets of two writers on that base.
    Outcome and tree are compared with those of `git merge-tree` without renames, attributes and configuration. Merges
    in which one side changed nothing are skipped. The repository may be bare.

    The exit code is 1 unless all are the same; standard error lists the differences.

    Example: sluice replay-merges ~/src/click --limit 500
    """
    begin()
    skipped: Counter[str] = Counter()
    with MergeHistory(repository) as history, progress_bars() as progress:
        with Judge(history.objects()) as judge:
            cases = read_cases(history, judge, limit, skipped, progress)
        with client_of(url, writers, s3, data) as client:
            report = MergeReplay(history, client, writers, progress).run(cases, skipped)
    for difference in report.differences:
        tell(difference.sentence(), "red")
    finish(report, show, as_json)


def show(report: MergeReport) -> None:
    """Print what a replay of merges came to, for a person."""
    console.print(f"[bold]{report.merges}[/] merges in {report.seconds:.1f} s, {report.content_merges} of them of"
                  f" contents; to Git {report.clean} are clean and {report.conflicted} conflict")  # fmt: skip
    for reason, count in report.skipped.most_common():
        console.print(f"{count} skipped: {reason}", markup=False)
    verdict, tree = report.same_verdict, report.same_tree
    same = "[bold green]all[/]" if report.ok else f"[bold red]{verdict}[/]"
    console.print(
        f"the same verdict: {same}\nthe same verdict and tree: {same if report.ok else f'[bold red]{tree}[/]'}"
    )
