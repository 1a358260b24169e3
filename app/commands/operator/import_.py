"""`sluice import`: a Git repository's history, with its ids, into an empty repository."""

import dataclasses
import time
from pathlib import Path

import click
from msgspec import structs
from rich.text import Text

from app.console.options import as_json, console, data_folder, deployment, emit, tell
from app.console.progress import progress_bars
from storage.importing import Imported, Unfit, import_history
from storage.repository import Repository

_SHOWN = 20


@click.command()
@click.argument("repository", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--ref", default="HEAD", show_default=True, help="The branch, tag or commit whose history is imported.")
@data_folder
@as_json
def command(repository: Path, ref: str, data: Path | None, as_json: bool) -> None:
    """Import the history of the Git repository REPOSITORY, with its ids and tags, into an empty repository.

    Everything that --ref reaches keeps its id, byte for byte; what lands from then on has it as its past. Tags of other
    commits are left out, and named. `git fsck` looks at the history first: what Sluice cannot carry is listed, and
    nothing is written; what is only odd is recorded. If it is interrupted, run the same command again: what is stored
    already is not stored again. Needs as much free disk for temporary files as the history's own pack has.

    Example: git clone --mirror https://example.org/code.git && sluice import code.git
    """
    started = time.monotonic()
    repo = Repository(deployment(data))
    with progress_bars() as progress:
        try:
            imported = import_history(repo, repository, ref, progress)
        except Unfit as error:
            for problem in error.problems[:_SHOWN]:
                tell(problem, "red")
            raise
    seconds = round(time.monotonic() - started, 3)
    if as_json:
        odd = [structs.asdict(each) for each in imported.odd]
        emit({**dataclasses.asdict(imported), "odd": odd, "seconds": seconds})
        return
    _show(imported, seconds)


def _show(imported: Imported, seconds: float) -> None:
    if imported.already:
        console.print(Text(f"{imported.commit} is imported already"), soft_wrap=True)
        return
    for each in imported.odd:
        shown = ", ".join(each.examples)
        console.print(Text(f"odd: {each.count} objects have {each.name}, such as {shown}", "yellow"), soft_wrap=True)
    if imported.left:
        shown = ", ".join(imported.left[:_SHOWN]) + (" …" if len(imported.left) > _SHOWN else "")
        console.print(Text(f"{len(imported.left)} tags are left out: {shown}", "yellow"), soft_wrap=True)
    console.print(
        Text(
            f"{imported.commit}: {imported.commits:,} commits, {imported.objects:,} objects, {imported.tags} tags;"
            f" {imported.packs} packs, {imported.bytes:,} bytes in the bucket, in {seconds} s"
        ),
        soft_wrap=True,
    )
