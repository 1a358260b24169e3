"""Who one is, and tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flask import Blueprint, Response, jsonify, request

from app.access.caller import Caller, NotAllowed
from app.access.current import actor, caller
from app.access.documents import (
    grant_json,
    load_token,
    right_json,
    token_json,
)
from app.protocol import cursors
from app.protocol.bodies import load_json
from app.protocol.problems import conflict, forbidden, invalid, not_found
from app.protocol.queries import load_query
from app.routes.access.policy import require_root_token
from app.routes.access.warnings import enumerate_paths, slashless
from app.routes.pages import page
from app.service.body_limit import body
from app.service.services import services
from storage.access.effective import effective
from storage.access.new_secret import new_secret
from storage.access.policy import ROLE_WITH, Right, grants_of
from storage.access.tokens import Token, hash_of
from storage.base.ids import is_ulid, new_ulid, oid_of
from storage.operations import access
from storage.view.access import tokens_of

routes = Blueprint("tokens", __name__)

_TOGETHER = 100
MOST_MAKERS = 8
"""Tokens by which another one is made, one by the other, at most: each names all of them."""


@routes.get("/me")
def me() -> Response:
    """Show who one is, and what one may do."""
    who, policy = caller(), services().access.policy()
    grants = grants_of(policy, who.principal)
    shown: dict[str, Any] = {
        "principal": who.principal,
        "everything": who.token is None,
        "grants": [grant_json(grant) for grant in grants],
        "rights": [right_json(each) for each in effective(grants, who.token.role, who.token.paths)]
        if who.token
        else [],
        "token": token_json(who.token) if who.token else None,
    }
    return jsonify(shown)


@routes.post("/tokens")
def create() -> tuple[Response, int]:
    """Make a token; its secret is shown this once."""
    here, who = services(), caller()
    wanted = load_token(load_json(body(), here.settings), here.settings)
    if not _may_hold(who, wanted.principal):
        raise NotAllowed("/", ROLE_WITH[Right.ADMIN])
    if who.web is not None:
        # Nobody could end what it made together with it: an issuer's token is revoked by nobody.
        detail = "the token of an issuer makes no tokens, which would outlive it"
        raise forbidden(detail, "/", ROLE_WITH[Right.ADMIN])
    require_root_token()
    secret = new_secret()
    token = Token(
        id=new_ulid(), hash=hash_of(secret), principal=wanted.principal, name=wanted.name,
        role=wanted.role, paths=wanted.paths, expires=wanted.expires, by=who.principal, made_by=_makers(who),
    )  # fmt: skip
    access.issue(here.repo, token, actor())
    shown = {**token_json(token), "token": secret}
    if who.may(Right.ADMIN, [b"/"]):
        root = oid_of(here.repo.view.head().root)
        warnings = slashless(here.repo.objects.tree, root, enumerate_paths(token.paths))
        shown |= {"warnings": warnings} if warnings else {}
    return jsonify(shown), 201


@routes.get("/tokens")
def listing() -> Response:
    """List the tokens that are valid or have expired: all of them for an admin, else one's own."""
    view, who = services().repo.view, caller()
    query = load_query(request.args, services().settings, "limit", "cursor")
    after = str(cursors.decode(query.cursor, "tokens", {}, (str,))[0]) if query.cursor is not None else ""
    ids = view.token_ids(after, query.limit + 1)

    def show(batch: Sequence[str]) -> Iterator[dict[str, Any] | None]:
        there = {token.id: token for token in tokens_of(view, batch)}
        for each in batch:
            token = there.get(each)
            yield token_json(token) if token and _may_hold(who, token.principal) else None

    return page("tokens", {}, ids, query.limit, lambda each: (each,), show, together=_TOGETHER)


@routes.delete("/tokens/<token_id>")
def revoke(token_id: str) -> tuple[Response | str, int]:
    """End a token, with `with_made` those that it made too; from a moment later they are refused everywhere."""
    repo, who = services().repo, caller()
    if not is_ulid(token_id):
        raise invalid("id", "is not the id of a token")
    if load_query(request.args, services().settings, "with_made").with_made:
        return jsonify({"revoked": _revoke_with_made(token_id)}), 200
    [*there] = tokens_of(repo.view, [token_id])
    if not there or not _may_hold(who, there[0].principal):
        with repo.queue.consistent_read():
            raise not_found("token", token_id)
    access.revoke(repo, [token_id], actor())
    return "", 204


def _revoke_with_made(token_id: str) -> list[str]:
    """End a token and all that were made by it, also where it is revoked itself; return the ids. Raises a Problem."""
    repo, who = services().repo, caller()
    revoked: list[str] = []
    while True:
        # Itself first: from then on it makes no others.
        wanted = [*tokens_of(repo.view, [token_id]), *access.made_by(repo.view, token_id)]
        if not wanted:
            break
        if not any(_may_hold(who, token.principal) for token in wanted):
            break  # who may see none of them is told that there is none
        if not all(_may_hold(who, token.principal) for token in wanted):
            raise NotAllowed("/", ROLE_WITH[Right.ADMIN])
        ids = [token.id for token in wanted[: access.AT_ONCE]]
        revoked += [token.id for token in access.revoke(repo, ids, actor())]
    if not revoked:
        with repo.queue.consistent_read():
            raise not_found("token", token_id)
    return revoked


def _makers(who: Caller) -> tuple[str, ...]:
    """Return the tokens by which one that somebody makes now is made. Raises a Problem where they are too many."""
    if who.token is None:
        return ()
    makers = (*who.token.made_by, who.token.id)
    if len(makers) > MOST_MAKERS:
        raise conflict(f"it would be made by {len(makers)} tokens, one by the other: use one of the first of them")
    return makers


def _may_hold(who: Caller, principal: str) -> bool:
    """Tell whether somebody may make, see and end a principal's tokens: admins, and itself by an unlimited token."""
    if who.may(Right.ADMIN, [b"/"]):
        return True
    own = who.token
    return who.principal == principal and own is not None and not (own.role or own.paths or own.expires)
