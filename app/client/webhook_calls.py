"""What the client of the API asks about webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from app.client.api_client import Client, Json


def create(client: Client, url: str, **wanted: Any) -> Json:
    """Make a webhook; the answer alone has its secret."""
    return client.call("POST", "/v1/webhooks", {"url": url, **wanted})


def listing(client: Client) -> Iterator[Json]:
    """Yield the webhooks that one may see."""
    return client.pages("/v1/webhooks")


def show(client: Client, webhook_id: str) -> Json:
    """Return a webhook."""
    return client.call("GET", _path(webhook_id))


def change(client: Client, webhook_id: str, **wanted: Any) -> Json:
    """Change a webhook."""
    return client.call("PATCH", _path(webhook_id), wanted)


def delete(client: Client, webhook_id: str) -> None:
    """Delete a webhook."""
    client.delete(_path(webhook_id))


def rotate(client: Client, webhook_id: str) -> Json:
    """Give a webhook another secret; the answer alone has it."""
    return client.call("POST", _path(webhook_id) + "/rotate")


def ping(client: Client, webhook_id: str) -> Json:
    """Have a ping delivered."""
    return client.call("POST", _path(webhook_id) + "/ping")


def deliveries(client: Client, webhook_id: str) -> Iterator[Json]:
    """Yield the last deliveries of a webhook, the newest first."""
    return client.pages(_path(webhook_id) + "/deliveries")


def redeliver(client: Client, webhook_id: str, delivery: str) -> Json:
    """Have an event delivered once more."""
    return client.call("POST", f"{_path(webhook_id)}/deliveries/{quote(delivery, safe='')}/redeliver")


def _path(webhook_id: str) -> str:
    return f"/v1/webhooks/{quote(webhook_id, safe='')}"
