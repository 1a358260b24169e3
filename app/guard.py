"""The first gate: who a request is from, and what it needs before its view is called.

Every endpoint is in the table, or the application does not start. Most views judge by path themselves, with what they
read; only what concerns the whole repository needs a right on `/` here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from flask import Flask, Response, g, request

from app.access.caller import STRANGER, Caller, NotAllowed
from app.service.services import Services, services
from app.shares.bucket import Standing
from app.shares.limits import limits_of
from app.shares.rates import refusal
from storage.access.policy import ROLE_WITH, Right
from storage.backends import deadline


class Needs(Enum):
    """What a request needs where it is no right on the whole repository."""

    NOBODY = auto()  # it is answered without a token
    TOKEN = auto()  # its view judges by path
    METRICS = auto()  # as a reader of `/`, or without a token where `open_metrics` says so


RULES: Mapping[str, Right | Needs] = {
    # What is public anyway: it tells nothing of a deployment.
    "index.root": Needs.NOBODY,
    "index.openapi": Needs.NOBODY,
    "index.docs": Needs.NOBODY,
    "index.docs_file": Needs.NOBODY,
    "index.problems": Needs.NOBODY,
    "index.version": Needs.TOKEN,
    "health.alive": Needs.NOBODY,
    "health.ready": Needs.NOBODY,
    "health.metrics": Needs.METRICS,
    "operations.deployment": Right.READ,
    "operations.merge": Right.MAINTAIN,
    "tokens.me": Needs.TOKEN,
    "tokens.create": Needs.TOKEN,
    "tokens.listing": Needs.TOKEN,
    "tokens.revoke": Needs.TOKEN,
    "policy.show": Right.ADMIN,
    "policy.replace": Right.ADMIN,
    "limits.show": Needs.TOKEN,
    "audit.listing": Right.ADMIN,
    "slices.create": Needs.TOKEN,
    "slices.listing": Needs.TOKEN,
    "slices.show": Needs.TOKEN,
    "slices.change": Needs.TOKEN,
    "slices.remove": Needs.TOKEN,
    "changesets.submit": Needs.TOKEN,
    "changesets.submit_many": Needs.TOKEN,
    "changesets.show": Needs.TOKEN,
    "changesets.listing": Needs.TOKEN,
    "changeset_lists.listing": Needs.TOKEN,
    "changeset_lists.states": Needs.TOKEN,
    "lifecycle.release_one": Needs.TOKEN,
    "lifecycle.abandon_one": Needs.TOKEN,
    "lifecycle.rebase": Needs.TOKEN,
    "lifecycle.resolve": Needs.TOKEN,
    "lifecycle.check": Needs.TOKEN,
    "conflicts.listing": Needs.TOKEN,
    "conflicts.show": Needs.TOKEN,
    "claims.create": Needs.TOKEN,
    "claims.listing": Needs.TOKEN,
    "claims.renew": Needs.TOKEN,
    "claims.remove": Needs.TOKEN,
    "explanations.diff": Needs.TOKEN,
    "explanations.conflicts": Needs.TOKEN,
    "explanations.side": Needs.TOKEN,
    "events.stream": Needs.TOKEN,
    "reads.commits": Needs.TOKEN,
    "reads.file": Needs.TOKEN,
    "reads.head": Needs.TOKEN,
    "reads.global_commits": Needs.TOKEN,
    "reads.merged": Needs.TOKEN,
    "trees.tree": Needs.TOKEN,
    "trees.files": Needs.TOKEN,
    "file_contents.contents": Needs.TOKEN,
    "commits.show": Needs.TOKEN,
    "commits.history": Needs.TOKEN,
    "commits.lines": Needs.TOKEN,
    "commits.comparison": Needs.TOKEN,
    "reverts.make": Needs.TOKEN,
    "tags.listing": Right.READ,
    "tags.show": Right.READ,
    "tags.put": Right.MAINTAIN,
    "tags.remove": Right.MAINTAIN,
    "mirrors.create": Right.ADMIN,
    "mirrors.listing": Right.ADMIN,
    # Also for the principal of a mirror whose commits are taken.
    "mirrors.show": Needs.TOKEN,
    "mirrors.stop": Needs.TOKEN,
    "mirrors.report": Needs.TOKEN,
    "mirrors.resume": Right.ADMIN,
    "mirrors.remove": Right.ADMIN,
    "webhooks.create": Needs.TOKEN,
    "webhooks.listing": Needs.TOKEN,
    "webhooks.show": Needs.TOKEN,
    "webhooks.change": Needs.TOKEN,
    "webhooks.remove": Needs.TOKEN,
    "webhooks.rotate": Needs.TOKEN,
    "webhooks.ping": Needs.TOKEN,
    "webhooks.deliveries": Needs.TOKEN,
    "webhooks.redeliver": Needs.TOKEN,
}


def check_complete(app: Flask) -> None:
    """Raise ValueError where the table and the routes of an application differ."""
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules()}
    if endpoints != RULES.keys():
        raise ValueError(f"app/guard.py and the routes differ: {sorted(endpoints ^ RULES.keys())}")


def check_again() -> None:
    """Refuse who is not let in any more: a body may take minutes, in which its token was revoked."""
    who: Caller | None = g.get("caller")
    if who is not None and who.is_known:
        services().access.check(who)


def check() -> None:
    """Find out who a request is from, and refuse, by a Problem, what the table does not let through."""
    if request.endpoint is None:
        # Nothing is there, and whoever asks is told that.
        g.caller = STRANGER
        return
    needs = RULES[request.endpoint]
    if needs is Needs.NOBODY or (needs is Needs.METRICS and services().settings.open_metrics):
        return
    here = services()
    with deadline.budget("request_budget", here.settings.request_budget):  # that of the request begins behind its body
        g.caller = who = here.access.caller(request.headers.get("Authorization"))
    _count(here, who)
    right = Right.READ if needs is Needs.METRICS else needs
    if isinstance(right, Right) and not who.may(right, [b"/"]):
        raise NotAllowed("/", ROLE_WITH[right])


def _count(here: Services, who: Caller) -> None:
    """Count a request of a principal. Raises QuotaReached."""
    g.standing = standing = here.rates.take(who)
    if standing is not None and not standing.allowed:
        raise refusal(who, limits_of(here.settings, who).requests_per_second, standing)


def tell_standing(response: Response) -> Response:
    """Say in an answer how its principal stands with its rate."""
    standing: Standing | None = g.get("standing")
    if standing is not None:
        response.headers.update(standing.headers)
    return response
