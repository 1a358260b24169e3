"""`sluice release`: held changesets may be committed."""

import click

from app.client.api_client import Client
from app.console.changesets import show, to_each, wait_for_all
from app.console.options import as_json, ask_to_wait, emit_or_show, end, url


@click.command()
@click.argument("changesets", metavar="ID...", nargs=-1, required=True)
@ask_to_wait
@url
@as_json
def command(client: Client, changesets: tuple[str, ...], wait: bool, timeout: float, as_json: bool) -> None:
    """Queue held changesets, so that they can be committed.

    Changesets that are no longer held stay as they are. The exit code is 7 if one was abandoned or is unknown; the
    others are released all the same. With --wait it is that of `sluice status --wait`. With --json, one line for each
    released changeset.

    Example: sluice release 01JG8Y6Z3M4N5P6Q7R8S9T0V1W --wait
    """
    released, code = to_each(client.release, changesets)
    code = max(code, wait_for_all(client, released, timeout)) if wait else code
    for changeset in released:
        emit_or_show(as_json, changeset, show)
    end(code)
