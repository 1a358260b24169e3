"""Lists of changesets by what is known of them, and the states of many at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

from flask import Blueprint, Response, jsonify, request

from app.access.current import caller
from app.access.visibility import visible
from app.protocol import cursors
from app.protocol.bodies import load_json
from app.protocol.queries import Query, load_ids, load_query
from app.routes.changeset_facts import Beside
from app.routes.changesets import Row, changeset_json, changesets_page, states_of
from app.routes.slices import find_slice
from app.service.body_limit import body
from app.service.services import services
from storage.access.policy import Right
from storage.backends.turns import breathe
from storage.base.batched import batched
from storage.base.errors import Recovering
from storage.base.ids import ChangesetId
from storage.git.paths import recorded_path
from storage.log.facts import label_value
from storage.log.records import Status
from storage.operations.listed import TOP, UNDECIDED, Wanted, decided, undecided
from storage.queue import Stage

routes = Blueprint("changeset_lists", __name__)

_FILTERS = ("submitter", "author", "slice", "path", "status", "label", "since")
# Changesets that were found by one filter and that one page looks at, to see whether they pass the others.
_MOST_LOOKED_AT = 1000
# So many at once: where many long paths collide, one takes some 100 KB.
_TOGETHER = 64


@dataclass(slots=True)
class _Found:
    """What a page has found: rows, and where the list goes on behind what was looked at; None at its end."""

    rows: list[Row]
    looked: cursors.Position | None = None


@routes.get("/changesets")
def listing() -> Response:
    """List changesets by who submitted or wrote them, slice, path, status, label and time."""
    query = load_query(request.args, services().settings, "limit", "cursor", "order", "encoding", *_FILTERS)
    wanted = _wanted(query)
    filters = {name: getattr(wanted, name) for name in _FILTERS if name != "label"}
    filters |= {"label": label_value(*wanted.label) if wanted.label else None, "order": int(query.order)}
    start: tuple[str, int] = ("", TOP if query.order else -1)
    is_first = query.cursor is None
    if query.cursor is not None:
        waiting, at = cast(tuple[str, int], cursors.decode(query.cursor, "listed", filters, (str, int)))
        start = waiting, min(at, TOP)  # behind which there is nothing, whatever a made-up cursor says
    if query.path is not None and not caller().may(Right.READ, [query.path]):
        return changesets_page("listed", filters, [], query.limit)
    repo = services().repo
    # A final status stays true whatever is not known here; what waits, and what is committed only, may have gone on.
    sure = wanted.status in {Status.LANDED, Status.CONFLICTED, Status.REJECTED, Status.ABANDONED}
    with nullcontext() if sure else repo.queue.consistent_read():
        rows = _newest(wanted, is_first) if query.order else _oldest(wanted)
        found = _narrowed(wanted, rows, start, query.limit + 1)
    return changesets_page("listed", filters, found.rows, query.limit, found.looked)


def _wanted(query: Query) -> Wanted:
    return Wanted(
        slice=find_slice(query.slice).id if query.slice is not None else None,
        status=Status(query.status) if query.status is not None else None,
        submitter=query.submitter,
        author=query.author,
        label=query.label,
        path=recorded_path(query.path) if query.path is not None else None,
        since=query.since,
    )


_Rows = Callable[[str, int, int], _Found]
"""Returns at most so many rows behind a position: an undecided changeset's id, and a position in the log."""


def _newest(wanted: Wanted, is_first: bool) -> _Rows:
    """Return how to read a list whose newest changesets come first: what waits, and then what was decided.

    The position in the log is TOP as long as there are undecided ones. What is decided in between is listed again.
    """

    def rows(after: str, before: int, limit: int) -> _Found:
        repo, found = services().repo, _Found([])
        if before == TOP and (after or is_first) and _waits(wanted):
            ids = undecided(repo, wanted, after, limit, newest_first=True)
            found.rows += [(each, (each, TOP)) for each in ids]
        if len(found.rows) < limit and _is_over(wanted):
            known = {each for each, _ in found.rows}
            more = decided(repo, wanted, -1, before, limit - len(found.rows), newest_first=True)
            was_full = len(found.rows) + len(more.rows) == limit
            found.rows += [(each, ("", at)) for each, at in more.rows if each not in known]
            if more.looked is not None:
                found.looked = ("", more.looked)
            elif was_full and len(found.rows) < limit:
                found.looked = ("", more.rows[-1][1])
        return found

    return rows


def _oldest(wanted: Wanted) -> _Rows:
    """Return how to read a list whose oldest changesets come first: what was decided, and then what waits.

    Each page begins with what was decided since the one before, so that nothing is left out.
    """

    def rows(waiting: str, after: int, limit: int) -> _Found:
        repo, found = services().repo, _Found([])
        # Before the decided: what is decided in between stands in both.
        ids = undecided(repo, wanted, waiting, limit, newest_first=False) if _waits(wanted) else []
        if _is_over(wanted):
            listed = decided(repo, wanted, after, TOP, limit, newest_first=False)
            found.rows += [(each, (waiting, at)) for each, at in listed.rows]
            if listed.looked is not None:
                found.looked = (waiting, listed.looked)
                return found
            after = listed.rows[-1][1] if listed.rows else after
        known = {each for each, _ in found.rows}
        found.rows += [(each, (each, max(after, 0))) for each in ids if each not in known][: limit - len(found.rows)]
        return found

    return rows


def _waits(wanted: Wanted) -> bool:
    """Tell whether the list has undecided changesets."""
    return wanted.status is None or wanted.status in UNDECIDED


def _is_over(wanted: Wanted) -> bool:
    """Tell whether the list has decided changesets."""
    return wanted.status not in UNDECIDED


def _narrowed(wanted: Wanted, rows: _Rows, start: tuple[str, int], limit: int) -> _Found:
    """Return at most `limit` rows that pass all filters and of which the caller may know.

    At most _MOST_LOOKED_AT are looked at. Rows of which the caller may not know are passed over as those that do not
    pass a filter are: whether there are any is not told by where a page ends, but for more of them than that.
    """
    who, repo = caller(), services().repo
    if who.reads_all and not wanted.is_narrow:
        return rows(*start, limit)
    kept, looked_at, at = list[Row](), 0, start
    while True:
        found = rows(*at, _TOGETHER)
        ids = [each for each, _ in found.rows]
        states = dict(zip(ids, states_of(ids), strict=True)) if ids else {}
        seen = visible(repo, who, states)
        for row in found.rows:
            if row[0] in seen and wanted.has(row[0], states[row[0]]):
                kept.append(row)
                if len(kept) == limit:
                    return _Found(kept)
        looked_at += len(ids)
        if found.looked is not None:
            return _Found(kept, found.looked)
        if len(ids) < _TOGETHER:
            return _Found(kept)
        at = cast(tuple[str, int], found.rows[-1][1])
        if looked_at >= _MOST_LOOKED_AT:
            return _Found(kept, at)
        breathe()


@routes.post("/changesets/status")
def states() -> Response:
    """Show many changesets by their ids, in the order of the request; what is in conflict is only counted."""
    settings, repo, who = services().settings, services().repo, caller()
    ids = load_ids(load_json(body(), settings), settings)
    shown: list[dict[str, Any]] = []
    unknown: list[ChangesetId] = []
    for some in batched(ids, _TOGETHER):
        known = dict(zip(some, states_of(some), strict=True))
        there = {each: state for each, state in known.items() if state.stage is not Stage.UNKNOWN}
        unknown += [ChangesetId(each) for each in known if each not in there]
        seen = visible(repo, who, there)
        beside = Beside.of([there[each] for each in seen])
        for each in some:
            if each in seen:
                shown.append(changeset_json(each, there[each], beside))
                shown[-1].pop("conflicts", None)
            else:
                shown.append({"id": each, "status": "unknown"})
        breathe()
    if unknown and repo.inbox.holds(unknown):
        raise Recovering("changesets are being looked for")
    return jsonify({"items": shown})
