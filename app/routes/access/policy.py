"""The policy: reading it, and putting another in its place."""

from __future__ import annotations

import re

from flask import Blueprint, Response, jsonify, request

from app.access.current import actor
from app.access.documents import load_policy, policy_json
from app.protocol.bodies import load_json
from app.protocol.problems import Problem
from app.protocol.queries import load_query
from app.routes.access.warnings import slashless
from app.service.body_limit import body
from app.service.services import services
from storage.access.changes import changes
from storage.access.policy import Policy
from storage.base.ids import oid_of
from storage.operations import access

routes = Blueprint("policy", __name__)

_VERSION = re.compile(r"[0-9]{1,15}", re.ASCII)


@routes.get("/policy")
def show() -> Response:
    """Show the policy."""
    return _policy(services().access.newest_policy())


@routes.put("/policy")
def replace() -> Response:
    """Put a policy in the place of the one that `If-Match` names; with `dry_run`, say what that would change."""
    here = services()
    query = load_query(request.args, here.settings, "dry_run")
    wanted = load_policy(load_json(body(), here.settings), here.settings)
    access.check_admin(wanted)
    if query.dry_run:
        if "If-Match" in request.headers:
            _version()  # it need not be there; what is there must be right
        current = here.access.newest_policy()
        shown = {"version": current.version, "changes": changes(current, wanted)}
        paths = [(f"grants[{i}].path", grant.path) for i, grant in enumerate(wanted.grants)]
        root = oid_of(here.repo.view.head().root)
        return jsonify({**shown, "warnings": slashless(here.repo.objects.tree, root, paths)})
    require_root_token()
    return _policy(access.replace_policy(here.repo, wanted, _version(), actor()))


def require_root_token() -> None:
    """Refuse, by a Problem, to end access without tokens while nobody would be left who may do anything."""
    if services().access.is_open:
        detail = (
            "the first token, or policy, ends access without one: set root_token_sha256 before, else nobody would be"
            " left who may set a policy"
        )
        raise Problem(409, "no-root-token", "There is no root token yet", detail)


def _policy(shown: Policy) -> Response:
    response = jsonify(policy_json(shown))
    response.set_etag(str(shown.version))
    return response


def _version() -> int | None:
    """Return the version that the policy must still have, None for any. Raises a Problem without the header."""
    match = request.if_match
    if match.star_tag:
        return None
    [*tags] = match.as_set()
    if len(tags) != 1 or not _VERSION.fullmatch(tags[0]):
        detail = 'If-Match must have the version that was read, such as "3", or * for any'
        raise Problem(428, "precondition-required", "The version that was read is needed", detail)
    return int(tags[0])
