"""Webhooks as requests bring them and answers show them."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, NamedTuple

from marshmallow import ValidationError
from marshmallow.fields import Raw

from app.protocol import fields
from app.protocol.loading import ErrorsAt, LimitedSchema, load_object
from app.protocol.paths import check_list, check_paths
from storage.base.settings import Settings
from storage.log.events import RELEASED
from storage.log.records import Status
from storage.queue import Delivery, Progress
from storage.webhooks.records import Webhook
from storage.webhooks.targets import check_url

EVENTS = (RELEASED, *(str(status) for status in Status if status not in (Status.HELD, Status.QUEUED)))
"""The names of all events."""
_MAX_NAME = 200


class WebhookSchema(LimitedSchema):
    """A webhook that is asked for."""

    url = Raw(required=True)
    name = fields.Checked(partial(fields.text, limit=("", _MAX_NAME)))
    events = Raw(allow_none=True)
    slices = Raw(allow_none=True)
    paths = Raw(allow_none=True)


class WebhookChangeSchema(LimitedSchema):
    """What of a webhook is to be another; a filter that is null is none."""

    url = Raw()
    name = fields.Checked(partial(fields.text, limit=("", _MAX_NAME)))
    events = Raw(allow_none=True)
    slices = Raw(allow_none=True)
    paths = Raw(allow_none=True)
    enabled = fields.Checked(fields.flag)


class WantedWebhook(NamedTuple):
    """What a request says of a webhook; what it does not say is None, and a filter of everything is ()."""

    url: str | None
    name: str | None
    events: tuple[str, ...] | None
    slices: tuple[str, ...] | None  # names or ids
    paths: tuple[str, ...] | None
    enabled: bool | None


@lru_cache(maxsize=4)
def _schemas(settings: Settings) -> tuple[WebhookSchema, WebhookChangeSchema]:
    return WebhookSchema(settings), WebhookChangeSchema(settings)


def load_webhook(data: Any, settings: Settings, is_new: bool) -> WantedWebhook:
    """Return the webhook, or the change of one, that a request asks for. Raises a Problem that names the field."""
    new, change = _schemas(settings)
    loaded = load_object(new if is_new else change, data)
    if "url" in loaded:
        with ErrorsAt("url"):
            url = fields.text(loaded["url"])
            try:
                check_url(url, settings.webhook_private_targets)
            except ValueError as error:
                raise ValidationError(str(error)) from None
    events = _filter(loaded, "events", ("", len(EVENTS)))
    for i, event in enumerate(events or ()):
        with ErrorsAt(f"events[{i}]"):
            if type(event) is not str or event not in EVENTS:
                raise ValidationError(f"must be one of {', '.join(EVENTS)}")
    slices = _filter(loaded, "slices", ("max_page", settings.max_page))
    for i, name in enumerate(slices or ()):
        with ErrorsAt(f"slices[{i}]"):
            fields.text(name, ("max_path_bytes", settings.max_path_bytes))
    paths = _filter(loaded, "paths", ("max_slice_paths", settings.max_slice_paths))
    if paths:
        paths = tuple(check_paths(loaded["paths"], settings))
    return WantedWebhook(loaded.get("url"), loaded.get("name"), events, slices, paths, loaded.get("enabled"))


def _filter(loaded: dict[str, Any], name: str, limit: fields.Limit) -> tuple[Any, ...] | None:
    """Return the items of a filter: none where it is null, None where it is not given."""
    if name not in loaded:
        return None
    if loaded[name] is None:
        return ()
    check_list(name, loaded[name], limit)
    return tuple(loaded[name])


def webhook_json(webhook: Webhook, overlap: float) -> dict[str, Any]:
    """Return a webhook as the API shows it: without its secret, of which `overlap` says how long an old one signs."""
    return {
        "id": webhook.id,
        "url": webhook.url,
        "name": webhook.name,
        "owner": webhook.owner,
        "events": list(webhook.events) or None,
        "slices": list(webhook.slices) or None,
        "paths": list(webhook.paths) or None,
        "role": webhook.role,
        "within": list(webhook.within) or None,
        "enabled": webhook.disabled is None,
        "disabled": webhook.disabled,
        "disabled_at": fields.shown_time(webhook.since),
        "created_at": fields.shown_time(webhook.created),
        "rotation": webhook.rotation,
        "old_secret_until": fields.shown_time(None if webhook.rotated is None else webhook.rotated + overlap),
    }


def progress_json(progress: Progress | None, applied: int) -> dict[str, Any]:
    """Return how far a webhook has come; `behind` is a number of entries of the log."""
    if progress is None:
        return {"tries": 0, "next_try_at": None, "error": None, "behind": None}
    return {
        "tries": progress.failed,
        "next_try_at": fields.shown_time(progress.due or None),
        "error": progress.error,
        "behind": max(0, applied + 1 - progress.seq),
    }


def delivery_json(delivery: Delivery) -> dict[str, Any]:
    """Return a try to deliver as the API shows it."""
    return {
        "id": delivery.id,
        "type": delivery.type,
        "event": delivery.event,
        "time": fields.shown_time(delivery.time),
        "attempt": delivery.attempt,
        "status": delivery.status,
        "error": delivery.error,
        "seconds": delivery.seconds,
        "answer": delivery.answer,
        "next_try_at": fields.shown_time(delivery.next),
        "by_hand": delivery.by_hand,
    }
