"""`sluice rebase`: changesets on the tip, with their changes merged in."""

import click

from app.client.api_client import Client
from app.console.changesets import make_of_each
from app.console.options import as_json, ask_to_wait, url


@click.command()
@click.argument("changesets", metavar="ID...", nargs=-1, required=True)
@ask_to_wait
@url
@as_json
def command(client: Client, changesets: tuple[str, ...], wait: bool, timeout: float, as_json: bool) -> None:
    """Merge changesets that are held, conflicted, abandoned, or rejected for their base onto the tip, as new ones.

    If the changes conflict with the tip, no changeset is made, standard error lists the paths, and the exit code is 3
    (7 if it is refused for another reason). A held changeset is abandoned, and the new one is held. With --wait the
    exit code is also that of `sluice status --wait` for the new changesets. With --json, one line for each of them.

    Example: sluice rebase 01JG8Y6Z3M4N5P6Q7R8S9T0V1W --wait
    """
    make_of_each(client, client.rebase, changesets, wait, timeout, as_json)
