"""Webhooks: who is told of events by requests of Sluice's."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Response, jsonify, request
from msgspec.structs import replace

from app.access.caller import Caller
from app.access.current import actor, caller
from app.protocol import cursors
from app.protocol.bodies import load_json
from app.protocol.problems import invalid, not_found
from app.protocol.queries import load_query
from app.protocol.webhooks import WantedWebhook, delivery_json, load_webhook, progress_json, webhook_json
from app.routes.pages import page
from app.routes.slices import find_slice
from app.service.body_limit import body
from app.service.confirm_refusals import confirm_refusals
from app.service.services import services
from storage.access.policy import Right
from storage.base.ids import is_ulid, new_ulid
from storage.log.events import events, parse
from storage.operations import webhooks
from storage.queue import Delivery, Wanted
from storage.view.webhooks import count_webhooks, webhooks_of
from storage.webhooks import signing
from storage.webhooks.records import Disabled, Webhook
from tasks.notify import ask_for_delivery
from tasks.report import because

routes = Blueprint("webhooks", __name__)

_MICROSECONDS = 1_000_000


@routes.post("/webhooks")
@confirm_refusals
def create() -> tuple[Response, int]:
    """Make a webhook; its secret is shown this once."""
    here, who = services(), caller()
    wanted = load_webhook(load_json(body(), here.settings), here.settings, is_new=True)
    assert wanted.url is not None
    webhook = Webhook(id=new_ulid(), url=wanted.url, owner=who.principal, created=int(time.time()))
    if who.token:
        webhook = replace(webhook, role=who.token.role, within=who.token.paths)
    webhook = _edited(webhook, wanted, _slices(wanted))
    _check_paths(who, wanted)
    webhooks.create(here.repo, webhook, actor())
    return jsonify(_with_secret(webhook)), 201


@routes.get("/webhooks")
def listing() -> Response:
    """List webhooks: all of them for an admin, else one's own."""
    view, who = services().repo.view, caller()
    query = load_query(request.args, services().settings, "limit", "cursor")
    after = str(cursors.decode(query.cursor, "webhooks", {}, (str,))[0]) if query.cursor is not None else ""
    # All of them, which are few: a page that ended behind another's would tell of it.
    there = webhooks_of(view, view.webhook_ids(after, count_webhooks(view)))
    own = [webhook for webhook in there if _may_manage(who, webhook)]
    return page("webhooks", {}, own, query.limit, lambda each: (each.id,), lambda some: map(_json, some))


@routes.get("/webhooks/<webhook_id>")
def show(webhook_id: str) -> Response:
    """Show a webhook, and how it stands with the event that is next."""
    repo, webhook = services().repo, _find(webhook_id)
    [progress] = repo.deliveries.progress([webhook.id])
    return jsonify({**_json(webhook), **progress_json(progress, repo.view.head().applied)})


@routes.patch("/webhooks/<webhook_id>")
@confirm_refusals
def change(webhook_id: str) -> Response:
    """Change a webhook: where it calls, what it is told, whether it is enabled."""
    here, webhook = services(), _find(webhook_id)
    wanted = load_webhook(load_json(body(), here.settings), here.settings, is_new=False)
    _check_paths(caller(), wanted)
    slices = _slices(wanted)
    changed = webhooks.change(here.repo, webhook.id, lambda there: _edited(there, wanted, slices), actor())
    return jsonify(_json(changed))


@routes.delete("/webhooks/<webhook_id>")
def remove(webhook_id: str) -> tuple[str, int]:
    """Delete a webhook; a delivery that is under way ends."""
    webhooks.delete(services().repo, _find(webhook_id).id, actor())
    return "", 204


@routes.post("/webhooks/<webhook_id>/rotate")
def rotate(webhook_id: str) -> Response:
    """Give a webhook another secret, which is shown this once; the old one signs as well for `webhook_overlap`."""
    changed = webhooks.change(services().repo, _find(webhook_id).id, webhooks.rotated, actor())
    return jsonify(_with_secret(changed))


@routes.post("/webhooks/<webhook_id>/ping")
def ping(webhook_id: str) -> tuple[Response, int]:
    """Have a ping delivered, also to a webhook that is disabled."""
    webhook = _find(webhook_id)
    return _want(webhook, Wanted(id=f"ping_{webhook.id}_{new_ulid()}"))


@routes.get("/webhooks/<webhook_id>/deliveries")
def deliveries(webhook_id: str) -> Response:
    """List the last deliveries of a webhook, the newest first."""
    here, webhook = services(), _find(webhook_id)
    query = load_query(request.args, here.settings, "limit", "cursor")
    filters = {"webhook": webhook.id}
    rows = here.repo.deliveries.recent(webhook.id, here.settings.webhook_deliveries)
    if query.cursor is not None:
        [before] = cursors.decode(query.cursor, "deliveries", filters, (int,))
        rows = [row for row in rows if _position(row) < int(before)]
    return page(
        "deliveries", filters, rows, query.limit, lambda row: (_position(row),), lambda some: map(delivery_json, some)
    )


@routes.post("/webhooks/<webhook_id>/deliveries/<delivery>/redeliver")
@confirm_refusals
def redeliver(webhook_id: str, delivery: str) -> tuple[Response, int]:
    """Have an event delivered once more, whatever was told since."""
    webhook = _find(webhook_id)
    try:
        position = parse(signing.event_of(webhook.id, delivery))
    except ValueError:
        raise invalid("delivery", "is not the id of an event, nor of a delivery of one") from None
    here, who = services(), caller()
    told = here.streams.entries
    if position.seq > here.repo.view.head().applied or not position.sent:
        raise not_found("event", delivery)
    entry = told.of_entry(position.seq)
    merged = range(entry.merged.first, entry.merged.through + 1) if entry.merged else range(0)
    for index, event in events(entry, map(told.of_entry, merged), position.sent - 1):
        if index == position.sent - 1 and who.may(Right.READ, event.prefixes):
            event_id = str(position)
            return _want(webhook, Wanted(id=signing.message_id(webhook.id, event_id), event=event_id))
        break
    raise not_found("event", delivery)


def _want(webhook: Webhook, wanted: Wanted) -> tuple[Response, int]:
    services().repo.deliveries.want(webhook.id, wanted)
    with because(f"{request.method} {request.path}"):
        ask_for_delivery(webhook.id)
    return jsonify({"id": wanted.id}), 202


def _find(webhook_id: str) -> Webhook:
    """Return a webhook, or refuse: one that the caller may not manage does not exist."""
    repo = services().repo
    if not is_ulid(webhook_id):
        raise invalid("id", "is not the id of a webhook")
    found = repo.confirmed(lambda: next(iter(webhooks_of(repo.view, [webhook_id])), None))
    if found is None or not _may_manage(caller(), found):
        raise not_found("webhook", webhook_id)
    return found


def _may_manage(who: Caller, webhook: Webhook) -> bool:
    """Tell whether somebody may see and change a webhook: admins, and its owner, by a token that is not limited more.

    A token with other limits than that which made it could read, by another URL, what it may not read itself.
    """
    if who.may(Right.ADMIN, [b"/"]):
        return True
    own = who.token
    is_full = own is None or not (own.role or own.paths)
    return who.principal == webhook.owner and (
        is_full or (own is not None and (own.role, own.paths) == (webhook.role, webhook.within))
    )


def _check_paths(who: Caller, wanted: WantedWebhook) -> None:
    who.require(Right.READ, [path.encode() for path in wanted.paths or ()])


def _slices(wanted: WantedWebhook) -> tuple[str, ...] | None:
    """Return the ids of the slices that a request names, or refuse one that the caller may not read."""
    return None if wanted.slices is None else tuple(dict.fromkeys(find_slice(name).id for name in wanted.slices))


def _edited(webhook: Webhook, wanted: WantedWebhook, slices: tuple[str, ...] | None) -> Webhook:
    given = {"url": wanted.url, "name": wanted.name, "events": wanted.events, "slices": slices, "paths": wanted.paths}
    webhook = replace(webhook, **{name: value for name, value in given.items() if value is not None})
    if wanted.enabled is None:
        return webhook
    return webhooks.disabled(webhook, None if wanted.enabled else Disabled.ASKED)


def _json(webhook: Webhook) -> dict[str, Any]:
    return webhook_json(webhook, services().settings.webhook_overlap)


def _with_secret(webhook: Webhook) -> dict[str, Any]:
    key = services().settings.webhook_key
    return {**_json(webhook), "secret": signing.shown(signing.secret_of(key, webhook.id, webhook.rotation))}


def _position(row: Delivery) -> int:
    return int(row.time * _MICROSECONDS)
