"""`sluice claims`: who is at work where."""

import click

from app.client import claims
from app.client.api_client import Client
from app.console.claims import line_of
from app.console.options import as_json, console, emit_or_show, url


@click.command()
@click.argument("path", required=False)
@click.option("--principal", help="Only those of this principal, such as agent:fixer-12.")
@url
@as_json
def command(client: Client, path: str | None, principal: str | None, as_json: bool) -> None:
    """List advisory claims: all, or those on PATH, on what is above it and on what is below it.

    With --json, one line for each.

    Example: sluice claims docs/guide/
    """
    if path is not None and principal is not None:
        raise click.UsageError("--principal does not go with a PATH")
    for claim in claims.claims(client, path, principal):
        emit_or_show(as_json, claim, lambda each: console.print(line_of(each), soft_wrap=True))
