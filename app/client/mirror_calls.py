"""What the client of the API asks about mirrors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from app.client.api_client import Client, Json


def create(client: Client, name: str, url: str, ref: str, **wanted: Any) -> Json:
    """Make a mirror."""
    return client.call("POST", "/v1/mirrors", {"name": name, "url": url, "ref": ref, **wanted})


def listing(client: Client) -> Iterator[Json]:
    """Yield all mirrors."""
    return client.pages("/v1/mirrors")


def show(client: Client, name: str) -> Json:
    """Return a mirror, and how it stands."""
    return client.call("GET", _path(name))


def delete(client: Client, name: str) -> None:
    """Delete a mirror."""
    client.delete(_path(name))


def stop(client: Client, name: str, **why: str) -> Json:
    """Stop a mirror until it is resumed."""
    return client.call("POST", _path(name) + "/stop", why)


def resume(client: Client, name: str) -> Json:
    """Let a mirror go on."""
    return client.call("POST", _path(name) + "/resume")


def report(client: Client, name: str, **seen: Any) -> Json:
    """Tell what was seen of a mirror whose commits are taken."""
    return client.call("PUT", _path(name) + "/report", seen)


def _path(name: str) -> str:
    return f"/v1/mirrors/{quote(name, safe='')}"
