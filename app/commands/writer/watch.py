"""`sluice watch`: what becomes of changesets, as it happens."""

from contextlib import suppress
from itertools import islice

import click
from rich.text import Text

from app.client.api_client import Client, Json
from app.console.changesets import slice_namer
from app.console.claims import line_of
from app.console.options import as_json, console, emit_or_show, url

_SHOWN = 3  # paths in conflict
_OF_CLAIMS = {"claimed", "claim-ended"}
COLOURS = {"committed": "green", "landed": "bold green", "conflicted": "red", "rejected": "red", "released": "yellow"}


@click.command()
@click.option("--slice", "slice_name", metavar="NAME", help="Only changesets of this slice, by name or id.")
@click.option("--after", metavar="ID", help="Start after this event, or after this log entry; 0: from the beginning.")
@click.option("-n", "--number", type=click.IntRange(1), help="Stop after N events. Default: never.")
@url
@as_json
def command(client: Client, slice_name: str | None, after: str | None, number: int | None, as_json: bool) -> None:
    """Show the events of changesets as they happen, one line for each.

    An event is committed, landed, conflicted, rejected, abandoned or released. A broken connection is resumed: no event
    is missed, and none is shown twice. Between them stand claimed and claim-ended, of advisory claims (`sluice
    claims`), which are told as they happen, and not again. With --json each line is an object, `{"id", "event",
    "data"}`; give its id to --after to continue there later. Ctrl-C ends it, with the exit code 0.

    \b
    Example: sluice watch --slice web
             sluice watch --after 0 --json | jq -r 'select(.event == "conflicted") | .data.id'
    """  # noqa: D301 - click takes the character itself
    name_of = slice_namer(client)

    def show(event: Json) -> None:
        if event["event"] in _OF_CLAIMS:
            console.print(Text.assemble(f"{event['event']:<10} ", line_of(event["data"])), soft_wrap=True)
            return
        console.print(_line(event, name_of(event["data"].get("slice", "?"))), soft_wrap=True)

    with suppress(KeyboardInterrupt):
        for event in islice(client.events(after, slice_name), number):
            emit_or_show(as_json, event, show)


def _line(event: Json, name: str) -> Text:
    data = event["data"]
    kind = event["event"]
    line = Text.assemble((f"{kind:<10}", COLOURS.get(kind, "")), f" {data['id']} {name}")
    conflicts = data.get("conflicts", [])
    if conflicts:
        more = len(conflicts) - _SHOWN
        line.append(f": {', '.join(conflicts[:_SHOWN])}{f' and {more} more' if more > 0 else ''}")
    if "reason" in data:
        line.append(f": {data['reason']}: {data.get('detail', '')}")
    return line
