"""`sluice restart`: a rolling restart of the stack that `sluice up` runs."""

from pathlib import Path

import click

from app.console.options import as_json, console, emit, stack_folder
from app.stack.commands import NAMES
from app.stack.restarts import ask


@click.command(short_help="Restart the processes of `sluice up`, without failing a request.")
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--all", "everything", is_flag=True, help="Also restart Redis and the S3 server.")
@stack_folder("The data folder of the stack.")
@as_json
def command(names: tuple[str, ...], everything: bool, data: Path, as_json: bool) -> None:
    """Restart the processes of a stack that `sluice up` runs, one after another: all of Sluice's own, or those named.

    No request fails: a new API process takes over before the old one stops. While Redis or the S3 server restart,
    answers are 503 with Retry-After.

    Example: sluice restart api worker
    """
    done = {}
    for name, seconds in ask(data, list(names or (NAMES if everything else ()))):
        done[name] = round(seconds, 2)
        if not as_json:
            console.print(f"{name:8} {seconds:5.1f} s")
    if as_json:
        emit(done)
