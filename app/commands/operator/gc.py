"""`sluice gc`: packs that no entry of the log names, found and deleted."""

from pathlib import Path

import click
from rich.text import Text

from app.console.options import as_json, console, data_folder, deployment, emit
from storage.maintenance import collect
from storage.repository import Repository


@click.command()
@data_folder
@click.option("--dry-run", is_flag=True, help="Find garbage, and leave it where it is.")
@as_json
def command(data: Path | None, dry_run: bool, as_json: bool) -> None:
    """Delete packs that no entry of the log names, once they are older than gc_grace.

    Whoever stored them died, or lost the race for its place in the log. They are condemned by an entry first, so this
    is safe beside writers. Upkeep does it by itself every gc_interval, some packs a run; a run goes on where the last
    one stopped.

    Example: sluice gc --dry-run
    """
    collected = collect(Repository(deployment(data)), dry_run)
    if as_json:
        counts = {"listed": collected.listed, "garbage": collected.garbage, "condemned": collected.condemned}
        emit({**counts, "deleted": len(collected.deleted), "complete": collected.complete})
        return
    for pack in collected.garbage if dry_run else ():
        console.print(Text(pack))
    done = f"{len(collected.deleted)} deleted" if not dry_run else "nothing was deleted"
    rest = "" if collected.complete else "; there are more packs behind them, for the next run"
    console.print(f"{collected.listed} packs looked at, {len(collected.garbage)} of them garbage, {done}{rest}")
