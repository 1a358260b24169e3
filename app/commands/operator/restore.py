"""`sluice restore`: a backup into an empty bucket."""

import dataclasses
import time
from pathlib import Path

import click
from rich.text import Text

from app.admin.restore import Damaged, restore
from app.admin.verify import verify
from app.console import exit_codes
from app.console.options import as_json, console, data_folder, deployment, emit, end, tell
from app.console.progress import progress_bars
from storage.repository import Repository

_SHOWN = 20


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--verify/--no-verify", "with_verify", default=True, help="Run `sluice verify` afterwards.")
@click.option(
    "--keep-tokens", is_flag=True,
    help="Keep the backup's tokens and identities, also those that were ended since, its webhooks and its mirrors.",
)  # fmt: skip
@data_folder
@as_json
def command(directory: Path, with_verify: bool, keep_tokens: bool, data: Path | None, as_json: bool) -> None:
    """Restore the backup in DIRECTORY into an empty bucket, load the view and verify it; exit 1 on differences.

    The repository may have another name than in the backup. Every file is checked before anything is written. Run this
    before you start the API and the workers; if it is interrupted, run the same command again. Tokens of the backup are
    revoked, and the identities of its policy are taken out: the root token makes new ones. Its webhooks are disabled,
    and its mirrors stopped.

    Example: SLUICE_REPOSITORY=copy sluice restore /backups/code
    """
    started = time.monotonic()
    repo = Repository(deployment(data))
    with progress_bars() as progress:
        try:
            restored = restore(repo, directory, progress, keep_tokens)
            differences = verify(repo, progress=progress).differences if with_verify else None
        except Damaged as error:
            for problem in error.wrong[:_SHOWN]:
                tell(problem, "red")
            raise
    seconds = round(time.monotonic() - started, 3)
    if as_json:
        clean = None if differences is None else not differences
        result = {**dataclasses.asdict(restored), "clean": clean, "differences": differences, "seconds": seconds}
        emit({"directory": str(directory), **result})
    else:
        for difference in differences or ():
            console.print(Text(difference, "red"), soft_wrap=True)
        verdict = "not verified" if differences is None else "[bold red]NOT clean[/]" if differences else "clean"
        console.print(
            f"{verdict}: {restored.entries} entries, {restored.files} files, {restored.bytes:,} bytes;"
            f" {restored.copied} files copied, {restored.enqueued} changesets queued again,"
            f" {restored.revoked} tokens revoked, {restored.disabled} webhooks disabled,"
            f" {restored.stopped} mirrors stopped,"
            f" in {seconds} s"
        )
    if differences:
        end(exit_codes.WRONG)
