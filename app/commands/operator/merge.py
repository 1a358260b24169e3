"""`sluice merge`: a batch merge now, not at the next interval."""

import time

import click

from app.client.api_client import Client
from app.console import exit_codes
from app.console.options import SECONDS, as_json, console, emit, end, notes, url

_POLL = 0.1


@click.command()
@click.option("--wait", is_flag=True, help="Wait until nothing is pending.")
@click.option("--timeout", type=SECONDS, default=300.0, show_default=True, help="Longest time that --wait waits.")
@url
@as_json
def command(client: Client, wait: bool, timeout: float, as_json: bool) -> None:
    """Request a batch merge: the committed changesets land under one new global commit.

    Merges also run by themselves every merge interval. With --wait the exit code is 5 if changesets are still pending
    when --timeout has passed; on a busy repository some may always be.

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
