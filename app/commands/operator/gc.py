"""`sluice gc`: packs that no entry of the log names, found and deleted."""

from pathlib import Path

import click
from rich.text import Text

from app.console.options import as_json, console, data_folder, deployment, emit
from storage.maintenance import collect
from storage.repository import Repository


@click.command()
@data_folder
@click.option("--dry-run", is_flag=True, help="Find garbage, but delete nothing.")
@as_json
def command(data: Path | None, dry_run: bool, as_json: bool) -> None:
    """Delete packs that no log entry names, once they are older than gc_grace.

    Processes that died, or lost the race for a log position, left them. A log entry tombstones them first, so this is
    safe while others write. Upkeep does the same every gc_interval, a limited number of packs at a time; each run
    continues where the last one stopped.

    Example: sluice gc --dry-run
    """
    collected = collect(Repository(deployment(data)), dry_run)
    if as_json:
        counts = {"listed": collected.listed, "garbage": collected.garbage, "condemned": collected.condemned}
        counts["checkpoints"] = len(collected.checkpoints)
        emit({**counts, "deleted": len(collected.deleted), "complete": collected.complete})
        return
    for pack in collected.garbage if dry_run else ():
        console.print(Text(pack))
    done = f"{len(collected.deleted)} deleted" if not dry_run else "nothing was deleted"
    rest = "" if collected.complete else "; there are more packs behind them, for the next run"
    console.print(f"{collected.listed} packs looked at, {len(collected.garbage)} of them garbage, {done}{rest}")
