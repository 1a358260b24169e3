"""Advisory claims, by the API."""

from collections.abc import Iterator, Sequence
from urllib.parse import quote

from app.client.api_client import Client, Json


def claim(client: Client, paths: Sequence[str], intent: str, ttl: int | None = None) -> Json:
    """Claim path prefixes for `ttl` seconds, and return the claim; a repeat after a lost answer makes another."""
    wanted: Json = {"paths": list(paths), "intent": intent} | ({} if ttl is None else {"ttl": ttl})
    return client.call("POST", "/v1/claims", wanted)


def renew(client: Client, claim_id: str, ttl: int, intent: str | None = None) -> Json:
    """Let a claim last for `ttl` seconds from now on, and return it."""
    wanted: Json = {"ttl": ttl} | ({} if intent is None else {"intent": intent})
    return client.call("PATCH", _path(claim_id), wanted)


def claims(client: Client, path: str | None = None, principal: str | None = None) -> Iterator[Json]:
    """Yield claims: all, those on a path, above it and below it, or a principal's."""
    return client.pages("/v1/claims", path=path, principal=principal)


def end(client: Client, claim_id: str) -> None:
    """End a claim."""
    client.delete(_path(claim_id))


def _path(claim_id: str) -> str:
    return f"/v1/claims/{quote(claim_id, safe='')}"
