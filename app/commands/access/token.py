"""`sluice token`: making, listing and revoking tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
from rich.text import Text

from app.client.api_client import Client, Json
from app.console.options import as_json, console, emit, emit_or_show, notes, url, warn
from app.console.spans import span_of
from storage.access.new_secret import new_secret
from storage.access.policy import Role
from storage.access.tokens import hash_of


class _Span(click.ParamType):
    """A time from now on, such as 12h or 30d."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the time at which it ends."""
        try:
            span = span_of(value)
            if span is None:
                self.fail(f"{value!r} is no time such as 90m, 12h, 30d or 8w", param, ctx)
            ends = datetime.now(UTC) + span
        except OverflowError:
            self.fail(f"{value!r} ends beyond the calendar", param, ctx)
        return ends.isoformat(timespec="seconds")


@click.group()
def command() -> None:
    """Make, list and revoke tokens: secrets by which a person, a service or an agent is known.

    What a token's principal may do is in the policy (`sluice policy`).

    Example: sluice token create agent:fixer-12 --path docs/ --expires 30d
    """


@command.command()
@click.argument("principal")
@click.option("--name", default="", help="What it is for.")
@click.option("--role", type=click.Choice([role.value for role in Role]), help="Limit it to the rights of this role.")
@click.option("--path", "paths", multiple=True, help="Limit it to this path prefix; repeatable.")
@click.option("--expires", type=_Span(), help="When it ends, from now: 90m, 12h, 30d, 8w. Default: never.")
@url
@as_json
def create(
    client: Client,
    principal: str,
    name: str,
    role: str | None,
    paths: tuple[str, ...],
    expires: str | None,
    as_json: bool,
) -> None:
    """Make a token for PRINCIPAL, such as user:ada, agent:fixer-12 or ci:github/owner/repo.

    The token is the only line on standard output, so that it can go into a file; it is shown this once. It may do what
    the policy grants PRINCIPAL (`sluice policy`): --role and --path leave less of that, and grant nothing.

    Example: (umask 077; sluice token create agent:fixer-12 --role writer > fixer.token)
    """
    wanted: Json = {"name": name} if name else {}
    wanted |= ({"role": role} if role else {}) | ({"paths": list(paths)} if paths else {})
    wanted |= {"expires": expires} if expires else {}
    made = client.create_token(principal, **wanted)
    if as_json:
        emit(made)
        return
    notes.print(f"made {made['id']} for {made['principal']}; it is shown this once")
    for warning in made.get("warnings", []):
        warn(warning["message"])
    console.print(Text(made["token"]), soft_wrap=True)


@command.command()
@as_json
def generate(as_json: bool) -> None:
    """Make a token that no deployment knows yet: for a root token, whose hash is a setting.

    Prints the token and, as a note, the line for the environment of the API and the workers. No server is asked.

    Example: (umask 077; sluice token generate > root-token)
    """
    secret = new_secret()
    if as_json:
        emit({"token": secret, "sha256": hash_of(secret)})
        return
    notes.print(f"SLUICE_ROOT_TOKEN_SHA256={hash_of(secret)}", soft_wrap=True)
    console.print(Text(secret), soft_wrap=True)


@command.command("list")
@url
@as_json
def list_(client: Client, as_json: bool) -> None:
    """List the tokens that are not revoked: all of them for an admin, else one's own. With --json, one line for each.

    Example: sluice token list
    """
    for token in client.tokens():
        emit_or_show(as_json, token, _show)


@command.command()
@click.argument("token_id", metavar="ID")
@click.option("--with-made", is_flag=True, help="Also what it made, and what that made; it may be revoked.")
@url
@as_json
def revoke(client: Client, token_id: str, with_made: bool, as_json: bool) -> None:
    """End the token with the id ID. Within a second it is refused everywhere, and its streams end.

    Example: sluice token revoke 01K0M8XJ5E3Q4T7N9V2B6C8D0F
    """
    revoked = client.revoke_with_made(token_id) if with_made else [token_id]
    if not with_made:
        client.revoke_token(token_id)
    if as_json:
        emit({"id": token_id, "revoked": True} | ({"all": revoked} if with_made else {}))
    else:
        for each in revoked:
            notes.print(f"revoked {each}")


def _show(token: Json) -> None:
    limits = [token["role"]] if token["role"] else []
    limits += token["paths"]
    more = [f"only {', '.join(limits)}"] if limits else []
    more += [f"until {token['expires']}"] if token["expires"] else []
    more += [f"made by {token['made_by'][-1]}"] if token["made_by"] else []
    more += [token["name"]] if token["name"] else []
    line = Text.assemble((token["id"], "cyan"), " ", (token["principal"], "bold"), *(f"  {each}" for each in more))
    console.print(line, soft_wrap=True)
