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
    """Copy what the bucket has and DIRECTORY has not; exit 1 where the bucket lacks something.

    DIRECTORY is empty at first, and a consistent backup whenever a run ends. Writers need not stop, Redis is not
    asked, and a run that died is gone on with by the next. `sluice restore` puts it into another bucket.

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
