"""`sluice rebuild`: the view in Redis anew, from the bucket alone."""

import time
from pathlib import Path

import click

from app.console.options import as_json, console, data_folder, deployment, emit
from app.console.progress import progress_bars
from storage.maintenance.rebuild import rebuild
from storage.repository import Repository


@click.command()
@data_folder
@as_json
def command(data: Path | None, as_json: bool) -> None:
    """Rebuild the view in Redis from the bucket, and queue every changeset without an outcome.

    Upkeep does this by itself if the view is missing or wrong; this command does it now. Safe while others write: the
    new view replaces the old one when it is complete.

    Example: sluice rebuild
    """
    repo = Repository(deployment(data))
    started = time.monotonic()
    with progress_bars() as progress:
        entries = sum(1 for _ in repo.bucket.list_keys("log/"))
        published, inbox = rebuild(repo, repo.view.epoch(), lambda seq: progress("log", seq, max(seq, entries)))
    applied, seconds = repo.view.head().applied, round(time.monotonic() - started, 3)
    if as_json:
        counts = {"enqueued": inbox.enqueued, "damaged": inbox.damaged}
        emit({"applied": applied, "published": published, **counts, "seconds": seconds})
    else:
        who = "" if published else " (somebody else published a view meanwhile)"
        console.print(f"view of {applied} entries in {seconds} s, {inbox.enqueued} changesets queued again{who}")
        if inbox.damaged:
            console.print(f"{inbox.damaged} submission packs cannot be read: see the log", style="red")
