"""`sluice mine`: one's own changesets."""

from __future__ import annotations

from typing import Any

import click

from app.client.api_client import Client
from app.commands.lists.changesets import list_them, which
from app.console.options import as_json, url


@click.command()
@which
@url
@as_json
def command(client: Client, as_json: bool, **given: Any) -> None:
    """List the changesets that you submitted, as `sluice changesets` does: what waits, and then what was decided last.

    You are the principal of your token, as `sluice whoami` shows it.

    \b
    Example: sluice mine --status conflicted
             sluice mine --since 1d --json
    """  # noqa: D301 - click takes the character itself
    principal = client.principal()
    if principal is None:
        raise click.UsageError("without a token you are nobody: `sluice changesets --author EMAIL` finds an author's")
    list_them(client, as_json, submitter=principal, **given)
