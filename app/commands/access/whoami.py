"""`sluice whoami`: who one is, and what one may do."""

from __future__ import annotations

import click
from rich.text import Text

from app.client.api_client import Client, Json
from app.console.options import as_json, console, emit_or_show, url


@click.command()
@url
@as_json
def command(client: Client, as_json: bool) -> None:
    """Show for whom the API takes you, and what you may do there.

    The token is that in SLUICE_TOKEN, or in the file that SLUICE_TOKEN_FILE names; without either, commands that run
    beside the data folder of `sluice up` send its root token.

    Example: SLUICE_TOKEN_FILE=fixer.token sluice whoami
    """
    emit_or_show(as_json, client.me(), _show)


def _show(me: Json) -> None:
    console.print(Text(me["principal"], "bold"))
    if me["everything"]:
        console.print("  may do everything")
    elif not me["grants"]:
        console.print(
            "  may do nothing: the policy grants it no role; an admin gives one by `sluice policy set`", soft_wrap=True
        )
    for grant in me["grants"]:
        until = f" until {grant['until']}" if "until" in grant else ""
        through = "" if grant["to"] == me["principal"] else f" (as {grant['to']})"
        console.print(Text(f"  {grant['role']} on {grant['path']}{until}{through}"), soft_wrap=True)
    token = me["token"]
    if token and (token["role"] or token["paths"]):
        limits = [*([token["role"]] if token["role"] else []), *token["paths"]]
        console.print(Text(f"  by a token that is limited to {', '.join(limits)}, which leaves:"), soft_wrap=True)
        for right in me["rights"]:
            until = f" until {right['until']}" if "until" in right else ""
            console.print(Text(f"    {right['role']} on {right['path']}{until}"), soft_wrap=True)
        if not me["rights"]:
            console.print("    nothing")
