"""Who sent the request that is being answered, and how the log names it."""

from __future__ import annotations

from typing import Any, cast

from flask import current_app, g, request
from msgspec import structs

from app.access.addresses import client_address
from app.access.caller import KEY_SEPARATOR, Caller
from app.protocol.problems import request_id
from storage.base.setting_groups.networks import read_networks
from storage.log.records import Actor, Submitter


def caller() -> Caller:
    """Return who sent the present request."""
    return cast(Caller, g.caller)


def tells_counts() -> bool:
    """Tell whether whoever sent the present request may know how much there is of what others submit."""
    who: Caller | None = g.get("caller")
    return who is None or who.reads_all


def own_key(key: str | None) -> str | None:
    """Return an idempotency key as the caller's own: two principals may use the same."""
    who = caller()
    return f"{who.principal}{KEY_SEPARATOR}{key}" if key is not None and who.is_known else key


def address() -> str:
    """Return from where the present request came: headers count as far as trusted proxies have written them."""
    trusted, peer = read_networks(current_app.extensions["sluice"].settings.trusted_proxies), request.remote_addr or ""
    return client_address(peer, request.headers.getlist("X-Forwarded-For"), trusted) if trusted else peer


def actor() -> Actor:
    """Return how the log names who sent the present request."""
    who = caller()
    return Actor(principal=who.principal, token=who.token_id, request=request_id(), address=address())


def known_actor() -> Actor | None:
    """Return the same; None where there are no tokens, and nobody is known."""
    return actor() if caller().is_known else None


def submitter() -> Submitter | None:
    """Return the same for a changeset; None where there are no tokens."""
    who = caller()
    if not who.is_known:
        return None
    limits: dict[str, Any] = {"role": who.token.role, "paths": who.token.paths} if who.token else {}
    return Submitter(**structs.asdict(actor()), **limits)
