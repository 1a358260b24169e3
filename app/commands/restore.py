"""`sluice restore`: a backup into an empty bucket."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import click

from app.backup import BackupError
from app.commands.options import as_json, console, data_folder, deployment, emit, notes
from app.commands.replay import Bars, progress_bars
from app.restore import Damaged, restore
from app.verify import verify
from storage.entries import CorruptEntry
from storage.repository import RedisUnsafe, Repository

_SHOWN = 20


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--verify/--no-verify", "with_verify", default=True, help="Run `sluice verify` on what was restored.")
@data_folder
@as_json
def command(directory: Path, with_verify: bool, data: Path | None, as_json: bool) -> None:
    """Put the backup in DIRECTORY into an empty bucket, load the view, and verify; exit 1 on differences.

    The repository's name may be another one than the backup's. Every file is checked before anything is written.
    Run it before the API and the workers are started; a restore that died is gone on with by the same command.

    Example: SLUICE_REPOSITORY=copy sluice restore /backups/code
    """
    started = time.monotonic()
    repo = Repository(deployment(data))
    with progress_bars() as bars:
        try:
            restored = restore(repo, directory, Bars(bars))
            differences = verify(repo, progress=Bars(bars)).differences if with_verify else None
        except (BackupError, CorruptEntry, RedisUnsafe) as error:
            for each in error.wrong[:_SHOWN] if isinstance(error, Damaged) else ():
                notes.print(each, style="red", markup=False)
            raise click.ClickException(str(error)) from error
    seconds = round(time.monotonic() - started, 3)
    if as_json:
        clean = None if differences is None else not differences
        result = {**dataclasses.asdict(restored), "clean": clean, "differences": differences, "seconds": seconds}
        emit({"directory": str(directory), **result})
    else:
        for difference in differences or ():
            console.print(difference, style="red", markup=False)
        verdict = "not verified" if differences is None else "[bold red]NOT clean[/]" if differences else "clean"
        console.print(
            f"{verdict}: {restored.entries} entries, {restored.files} files, {restored.bytes:,} bytes;"
            f" {restored.copied} files copied, {restored.enqueued} changesets queued again, in {seconds} s"
        )
    if differences:
        raise click.exceptions.Exit(1)
