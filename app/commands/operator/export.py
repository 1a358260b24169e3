"""`sluice export`: everything, as a bare Git repository."""

from pathlib import Path

import click
from rich.text import Text

from app.admin.export import export
from app.console.options import as_json, console, data_folder, deployment, emit, writing_to
from app.console.progress import progress_bars


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@data_folder
@as_json
def command(directory: Path, data: Path | None, as_json: bool) -> None:
    """Export everything as a bare Git repository into DIRECTORY, which must be empty or missing.

    `main` has the global commits: its first-parent history shows the batches, its full history every changeset. `next`
    is the chain, which may be ahead of main. Tags come along. Only the bucket is read (SLUICE_S3_*): Redis may be gone.

    Example: sluice export backup.git && git -C backup.git log --first-parent main
    """
    with progress_bars() as progress, writing_to(directory):
        contents = export(deployment(data), directory, progress)
    if as_json:
        emit({"directory": str(directory), "main": contents.main, "next": contents.tip, "entries": contents.entries})
    else:
        console.print(Text(f"{directory}: main is {contents.main}, next is {contents.tip}"), soft_wrap=True)
