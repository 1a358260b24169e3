"""Advisory claims as answers show them, to callers who may read all their paths."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from app.access.caller import Caller
from storage.access.policy import Right
from storage.claims import AdvisoryClaim
from storage.repository import Repository

MOST_SHOWN = 20
"""Claims that an answer about something else shows, each with as many of its paths at most."""
# Some of those that are found are not shown, and some stand on several of the paths.
_LOOKED_AT = 200


def may_know(who: Caller, claim: AdvisoryClaim) -> bool:
    """Tell whether a caller may know of a claim."""
    return who.may(Right.READ, claim.paths)


def others_claims(repo: Repository, who: Caller, files: Iterable[bytes]) -> list[dict[str, Any]]:
    """Return others' claims on some files as answers show them, with those of their paths that hold one.

    Where there are no tokens, nobody is told from anybody else, and one's own are among them. Raises Unavailable.
    """
    rows = repo.advisory_claims.over(files, _LOOKED_AT, who.principal if who.is_known else "")
    held: dict[str, list[bytes]] = {}
    for path, claim in rows:
        held.setdefault(claim, []).append(path)
    claims = repo.advisory_claims.some(held)
    shown = [(claim, held[claim.id][:MOST_SHOWN]) for claim in claims.values() if may_know(who, claim)]
    return [claim_json(claim, paths) for claim, paths in shown[:MOST_SHOWN]]


def claim_json(claim: AdvisoryClaim, paths: Iterable[bytes] | None = None) -> dict[str, Any]:
    """Return a claim as the API shows it; of all its `paths` some, perhaps."""
    return {
        "id": claim.id,
        "principal": claim.principal,
        "paths": [path.decode() for path in (claim.paths if paths is None else paths)],
        "intent": claim.intent,
        "expires": datetime.fromtimestamp(claim.ends, UTC).isoformat(timespec="seconds"),
    }
