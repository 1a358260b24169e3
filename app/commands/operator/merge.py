"""`sluice merge`: a batch merge now, not at the next interval."""

import time

import click

from app.client.api_client import Client
from app.console import exit_codes
from app.console.options import SECONDS, as_json, console, emit, end, notes, url

_POLL = 0.1


@click.command()
@click.option("--wait", is_flag=True, help="Return once nothing is pending.")
@click.option("--timeout", type=SECONDS, default=300.0, show_default=True, help="Seconds that --wait waits at most.")
@url
@as_json
def command(client: Client, wait: bool, timeout: float, as_json: bool) -> None:
    """Ask for a batch merge: the committed changesets land under one new global commit.

    One comes by itself every merge interval, too. With --wait the exit code is 5 if changesets were still pending at
    the end; on a busy repository there may always be some.

    Example: sluice merge --wait
    """
    pending = client.merge()["pending"]
    if not as_json:
        notes.print(f"asked; {pending} changesets are pending")
    until = time.monotonic() + timeout
    head = client.head()
    while wait and head["pending"] and time.monotonic() < until:
        time.sleep(_POLL)
        # A batch is bounded: more than one may be needed. Asking twice for the same one is harmless.
        client.merge()
        head = client.head()
    if as_json:
        emit({"requested": True, "pending": head["pending"], "main": head["main"]})
    elif wait:
        console.print(f"main is {head['main']['commit']}, {head['pending']} pending")
    if wait and head["pending"]:
        end(exit_codes.TIMED_OUT)
