"""`sluice demo`: a real history end to end, on a stack that comes and goes."""

import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import click
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app.admin.export import ExportError, export, git
from app.client.api_client import Client, Json
from app.console import exit_codes
from app.console.load_runs import PATIENCE, begin
from app.console.options import as_json, console, emit_or_show, end, log_events, notes, s3_kind, tell
from app.console.progress import progress_bars
from app.demo import generated_history
from app.demo.report import Report, sentences
from app.demo.run import Replay
from app.judge import History, HistoryError
from app.stack.environment import limits
from app.stack.stack import Stack

_SHOWN = 6  # global commits in the graph
_NAMED = 3  # slices of one of them


@dataclass(slots=True)
class Merge:
    """A global commit, and how many changesets it merged from each slice."""

    commit: str
    changesets: int
    slices: dict[str, int]


@dataclass(slots=True)
class Outcome:
    """What the demo came to."""

    source: str
    report: Report
    writers: int
    slices: int
    merges: list[Merge]
    exported: int = 0  # commits in the exported repository
    fsck: str = "not run"  # what it complained of; empty if nothing
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all landed, the trees are the same, and Git has nothing against what was exported."""
        return self.report.ok and not self.fsck and not self.problems


@click.command()
@click.option("--repo", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Replay this repository.")
@click.option(
    "--limit", default=1000, show_default=True, type=click.IntRange(1), help="Replay only the last N commits."
)
@click.option("--writers", default=16, show_default=True, type=click.IntRange(1, 256), help="Concurrent writers.")
@s3_kind
@as_json
def command(repo: Path | None, limit: int, writers: int, s3: str, as_json: bool) -> None:
    """Land a real history on a temporary stack, and verify the result with Git.

    Starts Redis, an S3 server, the API and the workers. Concurrent writers submit the history of Sluice's own
    repository (or of one made of the installed dependencies' code, if that is too short). Everything is exported as a
    Git repository, checked with `git fsck --strict`, and its tree compared with the original. Then the stack is stopped
    and removed. The exit code is 0 only if every check passes.

    Example: sluice demo --repo ~/src/click
    """
    begin()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="sluice-demo-")))
        try:
            source, path = _source(repo, folder)
            outcome = _run(opened, source, path, folder, limit, writers, s3)
        except ExportError as error:
            raise HistoryError(str(error)) from error
    emit_or_show(as_json, _json(outcome), lambda _: console.print(_summary(outcome)))
    for line in [*outcome.problems, *(line for problem in outcome.report.problems[:5] for line in sentences(problem))]:
        tell(line, "red")
    if not outcome.ok:
        end(exit_codes.WRONG)


def _source(repo: Path | None, folder: Path) -> tuple[str, Path]:
    """Return the repository to replay, and what to call it."""
    if repo is not None:
        return f"the history of {repo.resolve().name}", repo
    own = generated_history.own_repository()
    why = "there is no checkout here"
    if own is not None:
        try:
            if generated_history.commits(own) >= generated_history.ENOUGH:
                return "the history of Sluice itself", own
            why = f"Sluice's own history has fewer than {generated_history.ENOUGH} commits"
        except ExportError as error:  # no commit yet, or a checkout of somebody else's
            why = str(error)
    tell(f"{why}: making one from the code of the installed dependencies…")
    made = folder / "source.git"
    generated_history.build(made, generated_history.installed_sources())
    return "a history made from the code of the installed dependencies", made


def _run(opened: ExitStack, source: str, path: Path, folder: Path, limit: int, writers: int, s3: str) -> Outcome:
    history = opened.enter_context(History(path))
    notes.print("Starting Redis, an S3 server, the API and the workers…")
    stack = opened.enter_context(Stack(settings=limits(), s3=s3, with_flower=False, with_tokens=True))
    log_events(stack.settings)
    client = Client(stack.url, retry_for=PATIENCE, connections=writers + 2, token=stack.token)
    tell(f"{writers} writers submit {source}…")
    with progress_bars() as progress:
        report = Replay(history, client, writers, limit, progress=progress).run()
    names = {slice_["id"]: slice_["name"] for slice_ in client.slices()}
    outcome = Outcome(source, report, writers, len(names), _merges(client, names))
    notes.print("Exporting everything as a Git repository, and running git fsck --strict on it…")
    target = folder / "export.git"
    export(stack.settings, target)
    _judge(outcome, target)
    return outcome


def _merges(client: Client, names: dict[str, str]) -> list[Merge]:
    """Return the last global commits that merged something, newest first."""
    merges = []
    for latest in islice((commit for commit in client.global_commits(_SHOWN) if commit["changesets"]), _SHOWN):
        slices = Counter(names[changeset["slice"]] for changeset in client.merged(latest["commit"]))
        merges.append(Merge(latest["commit"], latest["changesets"], dict(slices.most_common())))
    return merges


def _judge(outcome: Outcome, repository: Path) -> None:
    """Ask Git about the export: its objects, its tree, its head."""
    try:
        git(repository, "fsck", "--strict", "--full")
        outcome.fsck = ""
    except ExportError as error:
        outcome.fsck = str(error)
    outcome.exported = int(git(repository, "rev-list", "--count", "main"))
    tree, head = git(repository, "rev-parse", "main^{tree}", "main").split()
    if tree != outcome.report.expected:
        outcome.problems.append(f"the exported tree is {tree}")
    if outcome.merges and head != outcome.merges[0].commit:
        outcome.problems.append(f"the exported main is {head}, the API's {outcome.merges[0].commit}")


def _json(outcome: Outcome) -> Json:
    return {
        "ok": outcome.ok, "source": outcome.source, "writers": outcome.writers, "slices": outcome.slices,
        **outcome.report.to_json(), "fsck": outcome.fsck or "clean", "exported_commits": outcome.exported,
        "last_merges": [asdict(merge) for merge in outcome.merges], "problems": outcome.problems,
    }  # fmt: skip


def _summary(outcome: Outcome) -> Panel:
    """Return what a person wants to see."""
    report = outcome.report
    good = {True: "green", False: "red"}
    lost = report.conflicted + report.rejected
    rows = Table.grid(padding=(0, 2))
    rows.add_column(justify="right", style="bold")
    rows.add_row("replayed", Text(outcome.source))
    rows.add_row("", f"{outcome.writers} writers, {outcome.slices} slices, {report.imported} files imported first")
    rows.add_row("changesets", f"{report.changesets}")
    landed = f"[bold {good[report.landed == report.changesets]}]{report.landed}[/]"
    speed = f"[bold]{report.per_second:.0f}[/] a second"
    rows.add_row("landed", f"{landed} in {report.seconds:.1f} s: {speed}, in {report.merged} batches")
    rows.add_row("conflicts", f"[{good[not lost]}]{report.conflicted}[/], rejected {report.rejected}")
    rows.add_row("tree", f"{report.tree}")
    rows.add_row("expected", f"{report.expected}")
    match = "yes: byte for byte what Git has" if report.match else "NO"
    rows.add_row("match", f"[bold {good[report.match]}]{match}[/]")
    rows.add_row("export", f"{outcome.exported} commits")
    rows.add_row("fsck", Text(outcome.fsck, "red") if outcome.fsck else "[bold green]clean[/] (git fsck --strict)")
    rows.add_row("", "")
    for number, merge in enumerate(outcome.merges):
        title = "main, newest first" if number == 0 else ""
        rows.add_row(title, f"[yellow]●[/]─╮ [cyan]{merge.commit[:12]}[/] merged [bold]{merge.changesets}[/]")
        named = [f"{name} ({count})" for name, count in islice(merge.slices.items(), _NAMED)]
        more = len(merge.slices) - _NAMED
        rows.add_row("", Text(f"│ ╰ {', '.join(named)}{f' and {more} more slices' if more > 0 else ''}"))
    colour = good[outcome.ok]
    title = "Everything landed, and Git agrees" if outcome.ok else "Something is wrong"
    return Panel(rows, title=f"[bold {colour}]{title}[/]", border_style=colour, expand=False)
