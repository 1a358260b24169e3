"""`sluice limits`: every limit that a request can meet, and how much of one's own shares is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click
from rich.text import Text

from app.client.api_client import Client, Json
from app.console.options import as_json, console, emit, url


@click.command()
@url
@as_json
def command(client: Client, as_json: bool) -> None:
    """List your shares with what you have used of them, and then the limits that hold for everybody.

    The policy gives shares, and the settings where it gives none; without a token, and with the root token, there are
    none. With --json a line is a share ("kind": "quota") or a limit ("kind": "limit").

    \b
    Example: sluice limits
             sluice limits --json | jq -r 'select(.name == "max_changeset_bytes").value'
    """  # noqa: D301 - click takes the character itself
    found = client.limits()
    if as_json:
        for row in _rows(found):
            emit(row)
        return
    console.print(Text(found["principal"], "bold"))
    for quota in found["quotas"]:
        console.print(Text(f"  {quota['name']} {_share(quota)}"), soft_wrap=True)
    if not found["quotas"]:
        console.print("  has no limits of its own")
    width = max((len(limit["name"]) for limit in found["limits"]), default=0)
    for limit in found["limits"]:
        console.print(Text(f"{limit['name']:{width}} {limit['value']} {limit['unit']}".rstrip()), soft_wrap=True)


def _rows(found: Json) -> Iterator[Json]:
    kinds: tuple[tuple[str, Iterable[Json]], ...] = (("quota", found["quotas"]), ("limit", found["limits"]))
    for kind, rows in kinds:
        yield from ({"kind": kind, **row} for row in rows)


def _share(quota: Json) -> str:
    if quota["value"] is None:
        return f"{quota['used']} used, no limit"
    return f"{quota['used']} of {quota['value']} used"
