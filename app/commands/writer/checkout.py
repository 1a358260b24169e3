"""`sluice checkout`: a slice's files in a folder that remembers what they were made from."""

import re
from functools import partial
from pathlib import Path

import click

from app.client.api_client import Client
from app.console.options import as_json, console, emit, tell, url, writing_to
from app.console.progress import progress_bars
from app.folder.folder_base import FILE
from app.folder.slice_checkout import check_out_slice

_COMMIT = re.compile(r"[0-9a-f]{40}")


@click.command()
@click.argument("slice_name", metavar="SLICE")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--commit", metavar="ID", help="Full id of the commit to write. Default: the tip, the newest.")
@click.option("--force", is_flag=True, help="Overwrite files in DIRECTORY that were changed, or are in the way.")
@url
@as_json
def command(
    client: Client, slice_name: str, directory: Path, commit: str | None, force: bool, as_json: bool
) -> None:  # fmt: skip
    """Write the files of SLICE into DIRECTORY, to be edited and submitted from there.

    DIRECTORY is created. If this command created it earlier, it is updated to the tip, with what others changed
    meanwhile. Files that you changed stay as they are; if others changed them too, nothing is written and they are
    listed: submit first, and your changes are merged.

    DIRECTORY/.sluice-base.json records the commit, so that `sluice submit` knows which changes are yours; it is never
    submitted. If a checkout is interrupted, run the same command again.

    \b
    Example: sluice checkout web work
             $EDITOR work/web/hello.txt
             sluice submit web work -m "Say hello" --wait
             sluice checkout web work
    """  # noqa: D301 - click takes the character itself
    if commit is not None and not _COMMIT.fullmatch(commit):
        raise click.BadParameter("is not the id of a commit, in full", param_hint="--commit")
    with progress_bars() as progress, writing_to(directory):
        show = partial(progress, "files")
        oid, plan = check_out_slice(client, slice_name, directory, commit, force, show)
    for path in plan.not_written:
        tell(f"not written, since the name is Git's or Sluice's own: {path}")
    if as_json:
        emit({"commit": oid, "written": len(plan.writes), "deleted": len(plan.deletes), "kept": plan.kept})
        return
    console.print(f"{directory} is at {oid}, files written: {len(plan.writes)}, deleted: {len(plan.deletes)}, "
                  f"as they were: {plan.kept}", markup=False, soft_wrap=True)  # fmt: skip
    tell(f"{directory / FILE} remembers it")
