"""`sluice backup`: the bucket into a folder."""

import dataclasses
import time
from pathlib import Path

import click
from rich.text import Text

from app.admin.backup import backup
from app.console import exit_codes
from app.console.options import as_json, console, data_folder, deployment, emit, end, writing_to
from app.console.progress import progress_bars


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@data_folder
@as_json
def command(directory: Path, data: Path | None, as_json: bool) -> None:
    """Copy the objects of the bucket that DIRECTORY lacks; exit 1 if some are missing from the bucket itself.

    DIRECTORY is empty at first, and a consistent backup after every complete run. Writers need not stop, and Redis is
    not used. If a run is interrupted, run the same command again. `sluice restore` puts the backup into another bucket.

    Example: sluice backup /backups/code
    """
    started = time.monotonic()
    with progress_bars() as progress, writing_to(directory):
        report = backup(deployment(data), directory, progress)
    seconds = round(time.monotonic() - started, 3)
    if as_json:
        emit({"directory": str(directory), **dataclasses.asdict(report), "seconds": seconds})
    else:
        for problem in report.problems:
            console.print(Text(problem, "red"), soft_wrap=True)
        line = (
            f"{directory}: {report.entries} entries, {report.files} files, {report.bytes:,} bytes;"
            f" {report.copied} files and {report.copied_bytes:,} bytes of them copied in {seconds} s"
        )
        console.print(Text(line), soft_wrap=True)
    if report.problems:
        end(exit_codes.WRONG)
