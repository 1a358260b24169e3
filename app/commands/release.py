"""`sluice release`: held changesets may be committed."""

from __future__ import annotations

from collections.abc import Callable

import click

from app.client import Client, Json, ProblemError
from app.commands.options import as_json, emit, notes, url
from app.commands.status import show


@click.command()
@click.argument("changesets", metavar="ID...", nargs=-1, required=True)
@url
@as_json
def command(client: Client, changesets: tuple[str, ...], as_json: bool) -> None:
    """Let held changesets be committed: they are queued now.

    What is no longer held stays as it is. The exit code is 1 if one was abandoned before; the others are released all
    the same. With --json there is one line for each that was.

    Example: sluice release 01JG8Y6Z3M4N5P6Q7R8S9T0V1W
    """
    to_each(client.release, changesets, as_json)


def to_each(verb: Callable[[str], Json], changesets: tuple[str, ...], as_json: bool) -> None:
    """Do something to each changeset and show it; exit with 1 if one of them stands where that is not possible."""
    refused = False
    for each in changesets:
        try:
            found = verb(each)
        except ProblemError as refusal:
            if refusal.status != 409:
                raise
            refused = True
            notes.print(f"{each}: {refusal.detail or refusal.title}", markup=False, soft_wrap=True)
            continue
        if as_json:
            emit(found)
        else:
            show(found)
    if refused:
        raise click.exceptions.Exit(1)
