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
    """Let held changesets be committed: they are queued now.

    What is no longer held stays as it is. The exit code is 7 if one was abandoned before or is not there; the others
    are released all the same. With --wait it is that of `sluice status --wait`. With --json there is one line for each
    that was released.

    Example: sluice release 01JG8Y6Z3M4N5P6Q7R8S9T0V1W --wait
    """
    released, code = to_each(client.release, changesets)
    code = max(code, wait_for_all(client, released, timeout)) if wait else code
    for changeset in released:
        emit_or_show(as_json, changeset, show)
    end(code)
