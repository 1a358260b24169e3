"""What the client of the API asks about the past."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from app.client.api_client import Client, Json
from app.client.byte_paths import query_of
from storage.base.ids import new_ulid


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


def history(client: Client, path: str, commit: str | None, slice_name: str | None, limit: int) -> Iterator[Json]:
    """Yield the commits that changed a file, or a directory where the path ends with a slash, newest first."""
    where = {} if path == "/" else {"prefix": path} if path.endswith("/") else {"path": path}
    return client.pages("/v1/history", limit=limit, commit=commit, slice=slice_name, **where)


def commit(client: Client, oid: str) -> Json:
    """Return a commit, with the first page of what it changed."""
    return client.call("GET", f"/v1/commits/{quote(oid, safe='')}?limit=1")


def compare(client: Client, first: str, second: str) -> Iterator[Json]:
    """Yield the files that differ between the merge base of two commits and the second of them."""
    return client.pages(f"/v1/compare/{quote(f'{first}...{second}', safe='')}")


def blame(client: Client, path: str, commit: str | None) -> Json:
    """Return which commit each line of a file came with."""
    query = {"path": path} | ({"commit": commit} if commit else {})
    return client.call("GET", f"/v1/blame?{query_of(query)}")


def revert(client: Client, changeset: str) -> Json:
    """Return a new changeset that takes back what a committed one has changed."""
    return client.call(
        "POST", f"/v1/changesets/{quote(changeset, safe='')}/revert", None, {"Idempotency-Key": new_ulid()}
    )


def _tag_path(name: str) -> str:
    return f"/v1/tags/{quote(name, safe='')}"
