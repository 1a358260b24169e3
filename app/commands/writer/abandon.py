"""`sluice abandon`: changesets that shall not land."""

import click

from app.client.api_client import Client
from app.console.changesets import show, to_each
from app.console.options import as_json, emit_or_show, end, url


@click.command()
@click.argument("changesets", metavar="ID...", nargs=-1, required=True)
@url
@as_json
def command(client: Client, changesets: tuple[str, ...], as_json: bool) -> None:
    """Take back changesets that are held or queued; of conflicted ones, close the conflict.

    A committed changeset cannot be taken back. If one is committed or unknown, the exit code is 7, and the others are
    abandoned all the same. With --json, one line for each abandoned changeset.

    Example: sluice abandon 01JG8Y6Z3M4N5P6Q7R8S9T0V1W
    """
    abandoned, code = to_each(client.abandon, changesets)
    for changeset in abandoned:
        emit_or_show(as_json, changeset, show)
    end(code)
