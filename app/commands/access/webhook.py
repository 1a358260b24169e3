"""`sluice webhook`: being told of events by requests of Sluice's."""

from __future__ import annotations

from typing import Any

import click
from rich.text import Text

from app.client import webhook_calls
from app.client.api_client import Client, Json
from app.console.options import as_json, console, emit, emit_or_show, notes, url

_EVENTS = ("released", "committed", "landed", "conflicted", "rejected", "abandoned")


@click.group()
def command() -> None:
    """Make, show, change and delete webhooks: URLs that Sluice calls when something happens to a changeset.

    A webhook is told what its owner may read. Its calls are signed, by the Standard Webhooks convention.

    Example: sluice webhook create https://ci.example.org/sluice --event landed --path web/
    """


@command.command()
@click.argument("target", metavar="URL")
@click.option("--name", default="", help="What it is for.")
@click.option("--event", "events", multiple=True, type=click.Choice(_EVENTS), help="Only this event; repeatable.")
@click.option("--slice", "slices", multiple=True, help="Only changesets of this slice; repeatable.")
@click.option("--path", "paths", multiple=True, help="Only what touches this path prefix; repeatable.")
@url
@as_json
def create(
    client: Client,
    target: str,
    name: str,
    events: tuple[str, ...],
    slices: tuple[str, ...],
    paths: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a webhook that calls URL. Without options it is told of every event that you may know of.

    Its secret, by which receivers know that a call is Sluice's, is the only line on standard output; it is shown this
    once.

    Example: (umask 077; sluice webhook create https://ci.example.org/sluice > secret)
    """
    wanted: dict[str, Any] = {"name": name} if name else {}
    filters = {"events": events, "slices": slices, "paths": paths}
    wanted |= {key: list(values) for key, values in filters.items() if values}
    _show_secret(webhook_calls.create(client, target, **wanted), "made", as_json)


@command.command("list")
@url
@as_json
def list_(client: Client, as_json: bool) -> None:
    """List webhooks: all of them for an admin, else one's own. With --json, one line for each.

    Example: sluice webhook list
    """
    for webhook in webhook_calls.listing(client):
        emit_or_show(as_json, webhook, _show)


@command.command()
@click.argument("webhook_id", metavar="ID")
@url
@as_json
def show(client: Client, webhook_id: str, as_json: bool) -> None:
    """Show the webhook with the id ID, and how it stands with the event that is next.

    Example: sluice webhook show 01K0M8XJ5E3Q4T7N9V2B6C8D0F
    """
    emit_or_show(as_json, webhook_calls.show(client, webhook_id), _show)


@command.command()
@click.argument("webhook_id", metavar="ID")
@url
@as_json
def delete(client: Client, webhook_id: str, as_json: bool) -> None:
    """Delete the webhook with the id ID.

    Example: sluice webhook delete 01K0M8XJ5E3Q4T7N9V2B6C8D0F
    """
    webhook_calls.delete(client, webhook_id)
    if as_json:
        emit({"id": webhook_id, "deleted": True})
    else:
        notes.print(f"deleted {webhook_id}")


@command.command()
@click.argument("webhook_id", metavar="ID")
@url
@as_json
def enable(client: Client, webhook_id: str, as_json: bool) -> None:
    """Enable a webhook that was disabled; it goes on with the event at which it stopped.

    Example: sluice webhook enable 01K0M8XJ5E3Q4T7N9V2B6C8D0F
    """
    emit_or_show(as_json, webhook_calls.change(client, webhook_id, enabled=True), _show)


@command.command()
@click.argument("webhook_id", metavar="ID")
@url
@as_json
def disable(client: Client, webhook_id: str, as_json: bool) -> None:
    """Tell a webhook nothing until it is enabled again.

    Example: sluice webhook disable 01K0M8XJ5E3Q4T7N9V2B6C8D0F
    """
    emit_or_show(as_json, webhook_calls.change(client, webhook_id, enabled=False), _show)


@command.command()
@click.argument("webhook_id", metavar="ID")
@url
@as_json
def rotate(client: Client, webhook_id: str, as_json: bool) -> None:
    """Give a webhook another secret, the only line on standard output. The old one signs as well for a day.

    Example: (umask 077; sluice webhook rotate 01K0M8XJ5E3Q4T7N9V2B6C8D0F > secret)
    """
    _show_secret(webhook_calls.rotate(client, webhook_id), "rotated", as_json)


@command.command()
@click.argument("webhook_id", metavar="ID")
@url
@as_json
def ping(client: Client, webhook_id: str, as_json: bool) -> None:
    """Have a ping delivered; `sluice webhook deliveries` says what came of it.

    Example: sluice webhook ping 01K0M8XJ5E3Q4T7N9V2B6C8D0F
    """
    _show_asked(webhook_calls.ping(client, webhook_id), as_json)


@command.command()
@click.argument("webhook_id", metavar="ID")
@url
@as_json
def deliveries(client: Client, webhook_id: str, as_json: bool) -> None:
    """List the last deliveries of a webhook, the newest first. With --json, one line for each.

    Example: sluice webhook deliveries 01K0M8XJ5E3Q4T7N9V2B6C8D0F
    """
    for delivery in webhook_calls.deliveries(client, webhook_id):
        emit_or_show(as_json, delivery, _show_delivery)


@command.command()
@click.argument("webhook_id", metavar="ID")
@click.argument("delivery", metavar="EVENT")
@url
@as_json
def redeliver(client: Client, webhook_id: str, delivery: str, as_json: bool) -> None:
    """Have an event delivered once more. EVENT is its id, or that of a delivery of it.

    Example: sluice webhook redeliver 01K0M8XJ5E3Q4T7N9V2B6C8D0F 812-0
    """
    _show_asked(webhook_calls.redeliver(client, webhook_id, delivery), as_json)


def _show_secret(made: Json, done: str, as_json: bool) -> None:
    if as_json:
        emit(made)
        return
    notes.print(f"{done} {made['id']}; its secret is shown this once")
    console.print(Text(made["secret"]), soft_wrap=True)


def _show_asked(asked: Json, as_json: bool) -> None:
    if as_json:
        emit(asked)
    else:
        notes.print(f"asked for {asked['id']}")


def _show(webhook: Json) -> None:
    more = [f"{key} {', '.join(webhook[key])}" for key in ("events", "slices", "paths") if webhook[key]]
    more += [f"disabled: {webhook['disabled']}"] if webhook["disabled"] else []
    more += [f"{webhook['tries']} tries failed, {webhook['error']}"] if webhook.get("tries") else []
    more += [webhook["name"]] if webhook["name"] else []
    line = Text.assemble((webhook["id"], "cyan"), " ", (webhook["url"], "bold"), f"  {webhook['owner']}")
    console.print(line.append("".join(f"  {each}" for each in more)), soft_wrap=True)


def _show_delivery(delivery: Json) -> None:
    outcome = delivery["error"] or "delivered"
    outcome += f" ({delivery['status']})" if delivery["status"] else ""
    what = f"{delivery['event'] or ''} {delivery['type']}".strip()
    line = Text.assemble(delivery["time"], " ", (what, "bold"), f"  try {delivery['attempt']}: {outcome}")
    console.print(line.append(f"  {delivery['seconds']:.3f} s"), soft_wrap=True)
