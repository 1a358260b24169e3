"""The audit: what was done, by whom, and from where; for admins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flask import Blueprint, Response, jsonify, request

from app.access.audit import AuditQuery, act_json, load_audit_query
from app.protocol import cursors
from app.protocol.problems import not_found
from app.routes.changesets import state_of
from app.routes.pages import page
from app.service.services import services
from storage.base.ids import ChangesetId, is_ulid
from storage.log.audit import Act
from storage.operations.audit import Range, listed, of_changeset, place, place_of

routes = Blueprint("audit", __name__)


@routes.get("/audit")
def listing() -> Response:
    """List what was done, newest first; with `changeset`, all that was done about one, from its submission on."""
    repo = services().repo
    query = load_audit_query(request.args, services().settings)
    at = int(cursors.decode(query.cursor, "audit", query.given, (int,))[0]) if query.cursor is not None else None
    slice_id = _slice_id(query.slice)
    through = repo.view.head().applied
    if query.changeset is not None:
        changeset = ChangesetId(query.changeset)
        found = of_changeset(repo, changeset, state_of(changeset), at)
        # They are few: one answer has them all, and `next` is for the rest of the log.
        items = [act_json(act) for act in found.acts if query.wants(act, slice_id)]
        following = None if found.looked is None else cursors.encode("audit", query.given, (found.looked,))
        return jsonify({"items": items, "next": following, "through": str(through)})
    within = Range(_start(query) if at is None else at, query.newest_first, query.since, query.until)
    found = listed(repo, within, lambda act: query.wants(act, slice_id), through, query.limit + 1)
    more = {"through": str(through)}
    return page("audit", query.given, found.acts, query.limit, _position, _show, looked=found.looked, more=more)


def _start(query: AuditQuery) -> int | None:
    if query.after is None:
        return None
    seq, index = query.after
    return place(seq) if index is None else place(seq, index)


def _slice_id(name: str | None) -> str | None:
    """Return the id of a slice by its name or id; one that was deleted has left its acts. Raises a Problem."""
    if name is None:
        return None
    repo = services().repo
    slice_ = repo.confirmed(lambda: repo.view.slice(name))
    if slice_ is not None:
        return slice_.id
    if is_ulid(name):
        return name
    raise not_found("slice", name)


def _position(act: Act) -> cursors.Position:
    return (place_of(act),)


def _show(batch: Sequence[Act]) -> Iterator[dict[str, Any]]:
    yield from map(act_json, batch)
