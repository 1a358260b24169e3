"""`sluice revert`: taking back what committed changesets have changed, by new ones."""

from functools import partial

import click

from app.client import history_calls
from app.client.api_client import Client
from app.console.changesets import make_of_each
from app.console.options import as_json, ask_to_wait, url


@click.command()
@click.argument("changesets", metavar="ID...", nargs=-1, required=True)
@ask_to_wait
@url
@as_json
def command(client: Client, changesets: tuple[str, ...], wait: bool, timeout: float, as_json: bool) -> None:
    """Take back what committed changesets have changed, each by a new changeset that is merged on the tip.

    It is what `git revert` would make, and may be in conflict with what has landed since. With --wait the exit code is
    that of `sluice status --wait` for the new changesets. With --json, one line for each of them.

    Example: sluice revert 01JG8Y6Z3M4N5P6Q7R8S9T0V1W --wait
    """
    make_of_each(client, partial(history_calls.revert, client), changesets, wait, timeout, as_json)
