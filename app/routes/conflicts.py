"""Reading conflicts, and the activity at a path."""

from flask import Blueprint, Response, jsonify, request

from app.protocol import cursors
from app.protocol.loading import load_path
from app.protocol.problems import invalid
from app.protocol.queries import load_query
from app.routes.changesets import changesets_page
from app.routes.slices import find_slice
from app.service.services import services
from storage.operations.activity import MOST, activity

routes = Blueprint("conflicts", __name__)


@routes.get("/conflicts")
def listing() -> Response:
    """List conflicted changesets whose conflicts are open: all, a slice's, or those on a path."""
    query = load_query(request.args, services().settings, "limit", "cursor", "slice", "path")
    if query.slice is not None and query.path is not None:
        raise invalid("path", "cannot stand beside slice")
    # Cursors have these words in their hash.
    of, slice_id = "open", None
    if query.slice is not None:
        slice_id = find_slice(query.slice).id
        of = f"open:{slice_id}"
    elif query.path is not None:
        of = f"open_on:{query.path.decode()}"
    filters = {"of": of}
    position = int(cursors.decode(query.cursor, "conflicts", filters, (int,))[0]) if query.cursor is not None else -1
    repo = services().repo
    with repo.queue.consistent_read():
        rows = repo.view.open_conflicts(position, query.limit + 1, slice_id, query.path)
    return changesets_page("conflicts", filters, rows, query.limit)


@routes.get("/paths/<path:path>")
def show(path: str) -> Response:
    """Show the slices that cover a path, and who is at work on it."""
    settings = services().settings
    raw = load_path(path, settings)
    load_query(request.args, settings)
    repo, limit = services().repo, settings.max_page
    with repo.queue.consistent_read():
        work = activity(repo, raw, min(limit, MOST))
        covering = repo.view.slices_covering(raw, "", limit + 1)
        slices = repo.view.slices(covering[:limit])
    return jsonify(
        {
            "path": path,
            "slices": [{"id": slice_.id, "name": slice_.name} for slice_ in slices],
            "queued": work.queued,
            "committed": work.committed,
            "lock": {"owner": work.lock[0], "seconds": work.lock[1]} if work.lock else None,
            "complete": work.complete and len(covering) <= limit,
        }
    )
