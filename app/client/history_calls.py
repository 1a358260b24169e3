"""What the client of the API asks about the past."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from app.client.api_client import Client, Json


def tags(client: Client) -> Iterator[Json]:
    """Yield the tags, in the order of their names."""
    return client.pages("/v1/tags", limit=1000)


def tag(client: Client, name: str) -> Json:
    """Return a tag."""
    return client.call("GET", _tag_path(name))


def put_tag(client: Client, name: str, commit: str, message: str | None, force: bool = False) -> Json:
    """Make a tag; with `force`, also where it names something else."""
    wanted = {"commit": commit} | ({"message": message} if message is not None else {})
    return client.call("PUT", _tag_path(name), wanted, {"If-Match": "*"} if force else None)


def delete_tag(client: Client, name: str) -> None:
    """Delete a tag."""
    client.delete(_tag_path(name))


def _tag_path(name: str) -> str:
    return f"/v1/tags/{quote(name, safe='')}"
