"""`sluice rebase`: changesets on the tip, with their changes merged in."""

from __future__ import annotations

import click
from rich.text import Text

from app.client import Client, Json, ProblemError
from app.commands.options import as_json, console, emit, url
from app.commands.status import told, told_conflict


@click.command()
@click.argument("changesets", metavar="ID...", nargs=-1, required=True)
@url
@as_json
def command(client: Client, changesets: tuple[str, ...], as_json: bool) -> None:
    """Make a new changeset on the tip of each that is held, conflicted, abandoned, or rejected because of its base.

    Its changes are merged into what stands there now; where they collide nothing is made, and the exit code is 1. A
    held changeset is abandoned, and the new one held. With --json there is one line for each: the new changeset, or
    `{"id", "detail", "conflicts"}`.

    Example: sluice rebase 01JG8Y6Z3M4N5P6Q7R8S9T0V1W
    """
    refused = False
    for each in changesets:
        try:
            made = client.rebase(each)
        except ProblemError as refusal:
            if refusal.status != 409:
                raise
            refused = True
            _refused(each, refusal, as_json)
        else:
            if as_json:
                emit(made)
            else:
                console.print(told(made), soft_wrap=True)
    if refused:
        raise click.exceptions.Exit(1)


def _refused(changeset: str, refusal: ProblemError, as_json: bool) -> None:
    conflicts: list[Json] = refusal.document.get("conflicts", [])
    detail = refusal.detail or refusal.title
    if as_json:
        emit({"id": changeset, "detail": detail, "conflicts": conflicts})
        return
    console.print(Text.assemble(changeset, " ", ("not rebased", "red"), f": {detail}"), soft_wrap=True)
    for conflict in conflicts:
        console.print(Text(f"  {told_conflict(conflict)}"), soft_wrap=True)
