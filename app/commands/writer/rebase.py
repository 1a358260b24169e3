"""`sluice rebase`: changesets on the tip, with their changes merged in."""

import click

from app.client.api_client import Client
from app.console.changesets import show_line, to_each, wait_for_all
from app.console.options import as_json, ask_to_wait, emit_or_show, end, tell, url


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
    made, code = to_each(client.rebase, changesets)
    if wait:
        for changeset in made:  # now: nobody else knows the ids if this is interrupted
            tell(f"made {changeset['id']}, waiting for it")
        code = max(code, wait_for_all(client, made, timeout))
    for changeset in made:
        emit_or_show(as_json, changeset, show_line)
    end(code)
