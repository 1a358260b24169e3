"""Advisory claims: who says that it is at work at some paths. They block nobody, and are no part of the log."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import structlog
from flask import Blueprint, Response, jsonify, request

from app.access.claims import claim_json, may_know, others_claims
from app.access.current import caller
from app.protocol import cursors
from app.protocol.bodies import load_json
from app.protocol.changesets.submissions import Submission
from app.protocol.claims import load_claim, load_claims_query, load_renewal
from app.protocol.problems import invalid, not_found
from app.routes.pages import page
from app.service.body_limit import body
from app.service.services import services
from storage.access.policy import Right
from storage.backends.redis_client import UNAVAILABLE
from storage.base.ids import is_ulid
from storage.claims import AdvisoryClaim
from storage.git.paths import recorded_path

routes = Blueprint("claims", __name__)

log = structlog.get_logger()

# Claims of a list that are read at once: one may have 200 KB of paths.
_TOGETHER = 32

Shown = Callable[[Sequence[Any]], Iterator[dict[str, Any] | None]]


@routes.post("/claims")
def create() -> tuple[Response, int]:
    """Claim some paths, for a while."""
    here, who = services(), caller()
    wanted = load_claim(load_json(body(), here.settings), here.settings)
    who.require(Right.WRITE, wanted.paths)
    made = here.repo.advisory_claims.make(who.principal, wanted.paths, wanted.intent, wanted.ttl)
    return jsonify(claim_json(made)), 201


@routes.get("/claims")
def listing() -> Response:
    """List claims: those on a path, above it and below it, in the order of paths; a principal's; or all."""
    query = load_claims_query(request.args, services().settings)
    claims = services().repo.advisory_claims
    if query.principal is not None:
        filters = {"of": query.principal}
        behind = str(cursors.decode(query.cursor, "claims", filters, (str,))[0]) if query.cursor is not None else ""
        ids = claims.of(query.principal, behind, query.limit + 1)
        return page("claims", filters, ids, query.limit, lambda id_: (id_,), _show_each(), together=_TOGETHER)
    filters = {"at": recorded_path(query.path) if query.path else "/"}
    after = None
    if query.cursor is not None:
        after = cast(tuple[bytes, str], cursors.decode(query.cursor, "claims", filters, (bytes, str)))
    rows = claims.at(query.path, after, query.limit + 1, caller().readable)

    def is_first(claim: AdvisoryClaim, path: bytes) -> bool:
        # One with several paths stands in the list once.
        return claim.is_on(query.path)[0] == path

    def show(batch: Sequence[tuple[bytes, str]]) -> Iterator[dict[str, Any] | None]:
        there = claims.some(id_ for _, id_ in batch)
        for path, id_ in batch:
            claim = there.get(id_)
            yield claim_json(claim) if claim and is_first(claim, path) and may_know(caller(), claim) else None

    return page("claims", filters, rows, query.limit, lambda row: row, show, together=_TOGETHER)


def _show_each() -> Shown:
    who, claims = caller(), services().repo.advisory_claims

    def show(batch: Sequence[str]) -> Iterator[dict[str, Any] | None]:
        there = claims.some(batch)
        for id_ in batch:
            claim = there.get(id_)
            yield claim_json(claim) if claim and may_know(who, claim) else None

    return show


@routes.patch("/claims/<claim_id>")
def renew(claim_id: str) -> Response:
    """Let a claim last for some time from now on, perhaps for another purpose."""
    here = services()
    ttl, intent = load_renewal(load_json(body(), here.settings), here.settings)
    claim = _own(claim_id)
    renewed = here.repo.advisory_claims.renew(claim.id, ttl, intent)
    if renewed is None:
        raise not_found("claim", claim_id)
    return jsonify(claim_json(renewed))


@routes.delete("/claims/<claim_id>")
def remove(claim_id: str) -> tuple[str, int]:
    """End a claim."""
    claim = _own(claim_id)
    if not services().repo.advisory_claims.end(claim.id):
        raise not_found("claim", claim_id)
    return "", 204


class ClaimsAt(NamedTuple):
    """Claims on a path as answers show them; `complete` is False where a limit cut the list short."""

    items: list[dict[str, Any]]
    complete: bool


def claims_at(path: bytes, limit: int) -> ClaimsAt:
    """Return the claims on a path, above it and below it, of which the caller may know."""
    claims = services().repo.advisory_claims
    rows = claims.at(path, None, limit + 1, caller().readable)
    there = claims.some(id_ for _, id_ in rows[:limit])
    shown = [claim_json(claim) for claim in there.values() if may_know(caller(), claim)]
    return ClaimsAt(shown, len(rows) <= limit)


def _own(claim_id: str) -> AdvisoryClaim:
    """Return a claim that the caller may change: its own, or on paths that it maintains.

    Raises a Problem and NotAllowed.
    """
    who = caller()
    if not is_ulid(claim_id):
        raise invalid("id", "is not the id of a claim")
    claim = services().repo.advisory_claims.some([claim_id]).get(claim_id)
    if claim is None or not may_know(who, claim):
        raise not_found("claim", claim_id)
    who.require(Right.WRITE if claim.principal == who.principal else Right.MAINTAIN, claim.paths)
    return claim


def claims_on(submissions: Iterable[Submission]) -> dict[str, Any]:
    """Return the `claims` of the answer to these submissions, which are accepted: others', on paths that they change.

    Nothing where there are none. Where they cannot be looked up, the answer says nothing of them either: nobody may
    take an accepted submission for a refused one.
    """
    here = services()
    if not here.lookups.any_advisory_claims:
        return {}
    files = (change.path for submission in submissions for change in submission.changes)
    try:
        found = others_claims(here.repo, caller(), files)
    except UNAVAILABLE as error:
        log.info("advisory_claims_not_told", reason=str(error))
        return {}
    return {"claims": found} if found else {}
