"""Reading conflicts, and the activity at a path."""

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Response, jsonify, request

from app.access.current import caller
from app.access.visibility import visible
from app.protocol import cursors
from app.protocol.loading import load_path
from app.protocol.problems import invalid, not_found
from app.protocol.queries import load_query
from app.routes.changeset_facts import short_json
from app.routes.changesets import changesets_page
from app.routes.claims import claims_at
from app.routes.pages import of_commit
from app.routes.slices import find_slice
from app.service.services import services
from storage.access.policy import Right
from storage.base.ids import ChangesetId, SliceId
from storage.git.paths import path_json, recorded_path
from storage.operations.activity import MOST, activity
from storage.queue import ChangesetState

routes = Blueprint("conflicts", __name__)


@routes.get("/conflicts")
def listing() -> Response:
    """List conflicted changesets whose conflicts are open: all, a slice's, or those on a path."""
    query = load_query(request.args, services().settings, "limit", "cursor", "slice", "path", "encoding")
    if query.slice is not None and query.path is not None:
        raise invalid("path", "cannot stand beside slice")
    # Cursors have these words in their hash.
    of, slice_id = "open", None
    if query.slice is not None:
        slice_id = find_slice(query.slice).id
        of = f"open:{slice_id}"
    elif query.path is not None:
        of = f"open_on:{recorded_path(query.path)}"
    filters = {"of": of}
    position = int(cursors.decode(query.cursor, "conflicts", filters, (int,))[0]) if query.cursor is not None else -1
    repo = services().repo
    with repo.queue.consistent_read():
        if query.path is not None and not caller().may(Right.READ, [query.path]):
            rows = []
        else:
            rows = repo.view.open_conflicts(position, query.limit + 1, slice_id, query.path)
    return changesets_page("conflicts", filters, rows, query.limit)


@routes.get("/paths/<path:path>")
def show(path: str) -> Response:
    """Show the slices that cover a path, and who is at work on it, as far as the caller may know of them."""
    settings, who = services().settings, caller()
    raw = load_path(path, settings, encoded=load_query(request.args, settings, "encoding").encoding)
    if not who.may(Right.READ, [raw]):
        raise not_found("path", path)
    repo, limit = services().repo, settings.max_page
    with repo.queue.consistent_read():
        work = activity(repo, raw, min(limit, MOST))
        covering = repo.view.slices_covering(raw, "", limit + 1)
        slices = [slice_ for slice_ in repo.view.slices(covering[:limit]) if who.may(Right.READ, slice_.paths)]
        ids = [*work.queued, *work.committed]
        states = dict(zip(ids, repo.queue.states(ids)[1] if ids else [], strict=True))
        seen = visible(repo, who, states)
        claims = claims_at(raw, min(limit, MOST))
        names = {slice_.id: slice_.name for slice_ in slices}

    def shown(changesets: Sequence[ChangesetId]) -> list[dict[str, Any]]:
        return [_at_work(each, states[each], names) for each in changesets if each in seen]

    response = jsonify(
        {
            **path_json("path", raw),
            "slices": [{"id": slice_.id, "name": slice_.name} for slice_ in slices],
            "queued": shown(work.queued),
            "committed": shown(work.committed),
            "lock": {"owner": work.lock[0], "seconds": work.lock[1]} if work.lock and who.reads_all else None,
            "claims": claims.items,
            "complete": work.complete and len(covering) <= limit and claims.complete,
        }
    )
    return of_commit(response, work.tip)


def _at_work(changeset: ChangesetId, state: ChangesetState, names: Mapping[SliceId, str]) -> dict[str, Any]:
    """Return what a path's activity tells of a changeset; `names` has those of the slices that may be named."""
    slice_id = state.outcome.slice if state.outcome else state.slice
    named = {"slice_name": names[slice_id]} if slice_id is not None and slice_id in names else {}
    return {"id": changeset, "slice": slice_id, **named, **short_json(changeset, state)}
