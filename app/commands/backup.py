"""`sluice backup`: the bucket into a folder."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import click

from app.backup import BackupError, backup
from app.commands.options import as_json, console, data_folder, deployment, emit
from app.commands.replay import Bars, progress_bars
from storage.entries import CorruptEntry


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@data_folder
@as_json
def command(directory: Path, data: Path | None, as_json: bool) -> None:
    """Copy what the bucket has and DIRECTORY has not; exit 1 where the bucket lacks something.

    DIRECTORY is empty at first, and a consistent backup whenever a run ends. Writers need not stop, Redis is not
    asked, and a run that died is gone on with by the next. `sluice restore` puts it into another bucket.

    Example: sluice backup /backups/code
    """
    started = time.monotonic()
    with progress_bars() as bars:
        try:
            report = backup(deployment(data), directory, Bars(bars))
        except (BackupError, CorruptEntry) as error:
            raise click.ClickException(str(error)) from error
    seconds = round(time.monotonic() - started, 3)
    if as_json:
        emit({"directory": str(directory), **dataclasses.asdict(report), "seconds": seconds})
    else:
        for problem in report.problems:
            console.print(problem, style="red", markup=False)
        console.print(
            f"{directory}: {report.entries} entries, {report.files} files, {report.bytes:,} bytes;"
            f" {report.copied} files and {report.copied_bytes:,} bytes of them copied in {seconds} s"
        )
    if report.problems:
        raise click.exceptions.Exit(1)
