"""`sluice replay-merges`: a repository's real merges as load, with Git's own three-way merge as the judge."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import click

from app.client.api_client import Client
from app.console import exit_codes
from app.console.options import as_json, console, emit, end, log_events, s3_kind, tell
from app.console.progress import Bars, progress_bars
from app.demo.merge_report import MergeReport
from app.demo.merge_run import MergeReplay, read_cases
from app.judge.judge import Judge
from app.judge.source_merges import MergeHistory

# Seconds: servers may be killed and Redis flushed meanwhile, and come back.
_PATIENCE = 120.0


@click.command("replay-merges")
@click.argument("repository", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--writers", default=8, show_default=True, type=click.IntRange(1, 256), help="Concurrent writers.")
@click.option("--limit", type=click.IntRange(1), help="Compare at most the newest N merges, skipped ones not counted.")
@click.option("--url", help="Replay against this API, of an empty repository, instead of a stack of its own.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the stack; kept afterwards.")
@s3_kind
@as_json
def command(
    repository: Path, writers: int, limit: int | None, url: str | None, data: Path | None, s3: str, as_json: bool
) -> None:
    """Merge what a local Git REPOSITORY merged, and compare with Git.

    Takes the merge commits of two parents that HEAD reaches, newest first. Both parents' changes since their merge
    base (where there are several, the first that `git merge-base` prints) are submitted as changesets of two writers
    on that base. Verdict and tree are compared with those of `git merge-tree` without renames, attributes and
    configuration. Merges in which one side changed nothing are skipped. A bare repository will do.

    The exit code is 1 unless all are the same; differences are listed on stderr.

    Example: sluice replay-merges ~/src/click --limit 500
    """
    # Like Ctrl-C: the stack is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    log_events()
    skipped: Counter[str] = Counter()
    with ExitStack() as opened:
        history = opened.enter_context(MergeHistory(repository))
        judge = opened.enter_context(Judge(history.objects()))
        bars = Bars(opened.enter_context(progress_bars()))
        cases = read_cases(history, judge, limit, skipped, bars)
        if url is None:
            from app.stack import Stack  # what runs a stack is imported only where one is run
            from app.stack.limits import limits

            stack = opened.enter_context(Stack(data=data, settings=limits(), s3=s3, with_flower=False))
            log_events(stack.settings)
            url = stack.url
        client = Client(url, retry_for=_PATIENCE, connections=writers + 2)
        report = MergeReplay(history, client, writers, bars).run(cases, skipped)
    for difference in report.differences:
        tell(difference.sentence(), "red")
    if as_json:
        emit(report.to_json())
    else:
        show(report)
    if not report.ok:
        end(exit_codes.WRONG)


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
