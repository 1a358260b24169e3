"""`sluice credential`: the token, for Git, by the protocol of gitcredentials(7)."""

import sys
from pathlib import Path

import click

from app.console.token import find_token, find_url

USER = "sluice"


@click.command()
@click.argument("operation", type=click.Choice(["get", "store", "erase"]))
@click.option(
    "--url", default=None, help="Address of the API that the token is for. Default: as other commands find it."
)
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=None,
    help="Data folder of the stack whose root token is given, if none is set.",
)  # fmt: skip
def command(operation: str, url: str | None, data: Path | None) -> None:
    """Answer Git, which asks for a user and a password: with the token of SLUICE_TOKEN or SLUICE_TOKEN_FILE.

    Git calls it in clones that `sluice clone` has made. It stores and erases nothing.

    Example: git config credential.https://git.example.org.helper '!sluice credential'
    """
    asked = sys.stdin.read()  # Git writes to the end, whatever is done with it
    token = find_token(url or find_url(), folder=data) if operation == "get" and asked else None
    if token:
        click.echo(f"username={USER}\npassword={token}")
