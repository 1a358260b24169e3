"""`sluice changesets`: the changesets that pass some filters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click
from rich.text import Text

from app.client.api_client import Client, Json
from app.console.changesets import COLOURS, label_of, slice_namer
from app.console.options import Command, as_json, console, emit_or_show, url
from app.console.spans import span_of

_STATUSES = ("held", "queued", "committed", "landed", "conflicted", "rejected", "abandoned")

_OPTIONS = (
    click.option("--status", type=click.Choice(_STATUSES), help="Only those with this status."),
    click.option("--slice", metavar="NAME", help="Only those of this slice, by name or id."),
    click.option("--path", metavar="FILE", help="Only those that changed this file, or want to."),
    click.option("--label", metavar="KEY=VALUE", help="Only those with this label."),
    click.option("--since", metavar="AGE|TIME", help="Only those submitted since: 30m, 12h, 7d, 2w, or a time such as "
                                                     "2026-01-31T12:00:00Z."),
    click.option("--oldest", is_flag=True, help="The oldest first."),
    click.option("-n", "--number", default=20, show_default=True, type=click.IntRange(1), help="Number of changesets."),
)  # fmt: skip


def which(command: Command) -> Command:
    """Add the arguments that say which changesets are listed; `list_them` takes them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.option("--submitter", metavar="PRINCIPAL", help="Only those that it submitted, such as user:ada.")
@click.option("--author", metavar="EMAIL", help="Only those by this author.")
@which
@url
@as_json
def command(client: Client, as_json: bool, **given: Any) -> None:
    """List changesets, the newest first: what waits, and then what was decided last. A line for each.

    All filters that are given have to hold. With --json a line is the changeset as the API lists it.

    \b
    Example: sluice changesets --label ticket=ABC-12
             sluice changesets --path web/a.js --status landed --since 7d
    """  # noqa: D301 - click takes the character itself
    list_them(client, as_json, **given)


def list_them(client: Client, as_json: bool, number: int, oldest: bool, **filters: str | None) -> None:
    """Print the changesets that pass the filters."""
    if (label := filters.get("label")) is not None:
        filters["label"] = ":".join(label_of(label))
    if (path := filters.get("path")) is not None and path.endswith("/"):
        raise click.BadParameter(f"{path!r} is a directory; it takes one file", param_hint="--path")
    if (since := filters.get("since")) is not None:
        filters["since"] = _time(since)
    order = "oldest" if oldest else "newest"
    found = client.pages("/v1/changesets", order=order, limit=min(number, 1000), **filters)
    name_of = slice_namer(client)

    def show(changeset: Json) -> None:
        console.print(_line(changeset, name_of(changeset["slice"])), soft_wrap=True)

    for changeset in islice(_each_once(found), number):
        emit_or_show(as_json, changeset, show)


def _each_once(changesets: Iterable[Json]) -> Iterator[Json]:
    """Yield changesets without those that are listed again, since they were decided between two pages."""
    seen: set[str] = set()
    for changeset in changesets:
        if changeset["id"] not in seen:
            seen.add(changeset["id"])
            yield changeset


def _time(text: str) -> str:
    """Return a time for the API: `text` itself, or so long ago."""
    try:
        age = span_of(text)
        moment = None if age is None else datetime.now(UTC) - age
    except OverflowError:
        raise click.BadParameter(f"{text!r} is too long ago", param_hint="--since") from None
    if moment is None:
        if not text[:1].isdigit():
            raise click.BadParameter(f"{text!r} is neither an age such as 12h or 7d nor a time", param_hint="--since")
        return text
    return max(moment, datetime(1970, 1, 1, tzinfo=UTC)).isoformat(timespec="seconds")


def _line(changeset: Json, slice_name: str) -> Text:
    status = changeset["status"]
    line = Text.assemble(changeset["id"], " ", (f"{status:<10}", COLOURS.get(status, "")), f" {slice_name}")
    if "author" in changeset:
        line.append(f" {changeset['author']['name']}: {changeset['message']}")
    for key, value in changeset.get("labels", {}).items():
        line.append(f" [{key}={value}]", "cyan")
    if "reason" in changeset:
        line.append(f" ({changeset['reason']})")
    return line
