"""Every limit that a client can meet, and how far the caller has come."""

from __future__ import annotations

import dataclasses
from typing import Any

from flask import Blueprint, Response, current_app, jsonify

from app.access.caller import Caller
from app.access.current import caller
from app.service.body_limit import BodyLimit
from app.service.services import services
from app.shares.limits import is_limited, limits_of
from storage.base.settings import Settings

routes = Blueprint("limits", __name__)

_NOT_MET = {"max_commit_changesets", "max_queue_age"}
"""Settings that look like limits of requests, and are none."""
_ALSO = {
    "body_timeout", "default_page", "header_timeout", "key_age", "merge_timeout", "min_rate", "principal_burst",
    "principal_rate", "request_budget", "send_timeout",
}  # fmt: skip


@routes.get("/limits")
def show() -> Response:
    """Show them."""
    here, who = services(), caller()
    return jsonify({"principal": who.principal, "quotas": _quotas(who), "limits": _limits(here.settings)})


def _limits(settings: Settings) -> list[dict[str, Any]]:
    return [
        {
            "name": info.name,
            "value": getattr(settings, info.name),
            "unit": info.metadata["unit"],
            "about": info.metadata["about"],
        }
        for info in sorted(dataclasses.fields(settings), key=lambda info: info.name)
        if info.name in _ALSO or (info.name.startswith("max_") and info.name not in _NOT_MET)
    ]


def _quotas(who: Caller) -> list[dict[str, Any]]:
    """Return what a caller may use of each kind and what it has used; nothing where it has no limits."""
    if not is_limited(who):
        return []
    here = services()
    limits, standing = limits_of(here.settings, who), here.rates.show(who)
    bodies: BodyLimit = current_app.extensions["body_limit"]
    used = {
        "requests_per_second": standing.quota - standing.remaining if standing else 0,
        "bodies_bytes": bodies.bodies_of(who.principal),
        "queued": here.repo.queue.admit(principals=[who.principal]).waiting_of[who.principal],
    }
    most = {**dataclasses.asdict(limits), "requests_per_second": standing.quota if standing else 0}
    return [
        {
            "name": name,
            "value": getattr(limits, name) or None,
            "used": used[name],
            "remaining": max(0, most[name] - used[name]) if most[name] else None,
        }
        for name in used
    ]
