"""`sluice revert`: taking back what committed changesets have changed, by new ones."""

import click

from app.client import history_calls
from app.client.api_client import Client, Json
from app.console.changesets import show_line, to_each, wait_for_all
from app.console.options import as_json, ask_to_wait, emit_or_show, end, tell, url


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

    def made_of(changeset: str) -> Json:
        return history_calls.revert(client, changeset)

    made, code = to_each(made_of, changesets)
    if wait:
        for changeset in made:  # now: nobody else knows the ids if this is interrupted
            tell(f"made {changeset['id']}, waiting for it")
        code = max(code, wait_for_all(client, made, timeout))
    for changeset in made:
        emit_or_show(as_json, changeset, show_line)
    end(code)
