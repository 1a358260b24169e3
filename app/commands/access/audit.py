"""`sluice audit`: what was done, by whom, and from where."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click
from rich.text import Text

from app.client.api_client import Client, Json
from app.client.audit import follow
from app.console.options import as_json, console, emit_or_show, url
from app.console.spans import span_of

_PAUSE = 1.0
# What a line begins with; all else stands behind it by its name.
_FIRST = ("_document_id", "created_at", "action", "actor", "actor_ip", "token_id", "request_id")
_SHOWN = 20


class _Moment(click.ParamType):
    """A time in ISO 8601, or how long ago it was."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the time with its zone; one without is of this machine's."""
        try:
            ago = span_of(value)
            moment = datetime.now(UTC) - ago if ago else datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a time such as 2026-01-31T12:00 nor a span such as 90m, 12h or 30d", param)
        return moment.astimezone(UTC).isoformat(timespec="seconds")


@click.command()
@click.option("--follow", "-f", "follows", is_flag=True, help="Go on, in order, with what is done from now on.")
@click.option("--changeset", metavar="ID", help="All about one changeset, from its submission to its landing.")
@click.option("--actor", metavar="PRINCIPAL", help="Only what was done by, or for, this principal.")
@click.option("--action", help="Only this action (slice.create), or this kind (slice).")
@click.option("--token-id", metavar="ID", help="Only what was done with this token.")
@click.option("--slice", "slice_name", metavar="NAME", help="Only what is about this slice, by name or id.")
@click.option("--since", type=_Moment(), help="From this time on; or from so long ago: 90m, 12h, 30d, 8w.")
@click.option("--until", type=_Moment(), help="Up to this time; or to so long ago.")
@click.option("-n", "--number", type=click.IntRange(1), help=f"Stop after N lines. Default: {_SHOWN} without filters.")
@url
@as_json
def command(
    client: Client, follows: bool, changeset: str | None, slice_name: str | None, number: int | None, as_json: bool,
    **more: str | None,
) -> None:  # fmt: skip
    """Show what was done, by whom, with which token, and from where; newest first. For admins.

    With --follow, or with --changeset, in the order in which it was done. With --json each line is an object, under the
    names that GitHub's audit log has. Ctrl-C ends --follow, with the exit code 0.

    A line is: time, action, actor, id of the token, address, id of the request, and what it is about by name; `-` is
    for what is not known, and for what nobody asked for.

    \b
    Example: sluice audit --changeset 01K0M8XJ5E3Q4T7N9V2B6C8D0F
             sluice audit --follow --action token --json
    """  # noqa: D301 - click takes the character itself
    if follows and (changeset or more["until"]):
        raise click.UsageError("--follow goes on for ever: it goes neither with --changeset nor with --until")
    given = {"changeset": changeset, "slice": slice_name, **more}
    filters = {name: value for name, value in given.items() if value is not None}
    rows: Iterable[Json] = follow(client, filters, _PAUSE) if follows else client.pages("/v1/audit", **filters)
    if number is None and not filters and not follows:
        number = _SHOWN
    try:
        for row in islice(rows, number):
            emit_or_show(as_json, row, _show)
    except KeyboardInterrupt:
        if not follows:
            raise


def _show(row: Json) -> None:
    about = "  ".join(f"{name}={_text(value)}" for name, value in row.items() if name not in _FIRST)
    by = " ".join(str(row[name] or "-") for name in ("actor", "token_id", "actor_ip"))
    line = Text.assemble(
        (row["created_at"] or "-", "cyan"), " ", (f"{row['action']:<18}", "bold"), f" {by} {row['request_id'] or '-'}",
        f"  {about}" if about else "",
    )  # fmt: skip
    console.print(line, soft_wrap=True)


def _text(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if text.isprintable() else ascii(text)  # a line stays one, whatever a token is named
