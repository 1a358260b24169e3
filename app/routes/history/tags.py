"""Tags: names of commits, for readers of everything; maintainers of everything make them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from flask import Blueprint, Response, jsonify, request

from app.access.current import caller, known_actor
from app.protocol import cursors
from app.protocol.bodies import load_json
from app.protocol.history.moments import shown_moment
from app.protocol.history.tags import load_tag, load_tag_name
from app.protocol.problems import Problem, conflict, invalid, not_found, precondition_failed
from app.protocol.queries import load_query
from app.routes.files.trees import commit_of
from app.routes.pages import page
from app.service.body_limit import body
from app.service.confirm_refusals import confirm_refusals
from app.service.services import services
from storage.base.ids import ObjectId, oid_of
from storage.git.objects import Ident
from storage.operations import tags
from storage.operations.tags import Done, Tag, TagChanged, Wanted
from storage.view.tags import next_tags, tags_of

routes = Blueprint("tags", __name__)

_ID = re.compile(r"[0-9a-f]{40}", re.ASCII)
# Tags whose objects are read at once.
_TOGETHER = 100


@routes.get("/tags")
def listing() -> Response:
    """List the tags, in the order of their names."""
    repo = services().repo
    query = load_query(request.args, services().settings, "limit", "cursor")
    after = str(cursors.decode(query.cursor, "tags", {}, (str,))[0]) if query.cursor is not None else ""
    rows = next_tags(repo.view, after, query.limit + 1)

    def show(batch: Sequence[tuple[str, ObjectId]]) -> Iterator[dict[str, Any]]:
        repo.objects.prefetch([oid for _, oid in batch], services().settings.max_page_bytes)
        yield from (tag_json(tags.tag_of(repo, name, oid)) for name, oid in batch)

    return page("tags", {}, rows, query.limit, lambda row: (row[0],), show, together=_TOGETHER)


@routes.get("/tags/<path:tag>")
def show(tag: str) -> Response:
    """Show a tag."""
    repo, name = services().repo, load_tag_name(tag)
    oid = repo.confirmed(lambda: tags_of(repo.view, [name]).get(name))
    if oid is None:
        raise not_found("tag", name)
    return _answer(repo.confirmed(lambda: tags.tag_of(repo, name, oid)))


@routes.put("/tags/<path:tag>")
@confirm_refusals
def put(tag: str) -> tuple[Response, int]:
    """Make a tag; with `If-Match`, move it."""
    here, name = services(), load_tag_name(tag)
    wanted = load_tag(load_json(body(), here.settings), here.settings)
    seen, force = _seen()
    commit_of(wanted.commit)
    asked = Wanted(name=name, commit=wanted.commit, message=wanted.message, tagger=_tagger(), seen=seen, force=force)
    done, made = tags.put_tag(here.repo, asked, known_actor())
    return _answer(made), 201 if done == Done.MADE else 200


@routes.delete("/tags/<path:tag>")
@confirm_refusals
def remove(tag: str) -> tuple[str, int]:
    """Delete a tag; with `If-Match` only if it names that still."""
    tags.delete_tag(services().repo, load_tag_name(tag), _seen()[0], known_actor())
    return "", 204


def changed(error: TagChanged) -> Problem:
    """Return the problem of a tag that names something else than was seen, or that is there already."""
    now = error.current.hex() if error.current else None
    if error.seen:
        return precondition_failed(str(error), id=now)
    return conflict(f"{error}: to move it, send If-Match with that id, or *", id=now)


def tag_json(tag: Tag) -> dict[str, Any]:
    """Return a tag as the API shows it."""
    tagger = tag.of.tagger if tag.of else None
    return {
        "name": tag.name,
        "id": tag.oid.hex(),
        "commit": tag.commit.hex() if tag.commit else None,
        "annotated": tag.of is not None,
        "message": tag.of.message if tag.of else None,
        "tagger": {"name": tagger.name, "email": tagger.email} if tagger else None,
        "time": shown_moment(tagger) if tagger else None,
    }


def _answer(tag: Tag) -> Response:
    response = jsonify(tag_json(tag))
    response.set_etag(tag.oid.hex())
    return response


def _tagger() -> Ident:
    """Return who makes a tag: as the policy names the caller, else as the settings name Sluice."""
    settings, person = services().settings, caller().person
    if person:
        return Ident(person.name, person.emails[0], int(time.time()))
    return Ident(settings.committer_name, settings.committer_email, int(time.time()))


def _seen() -> tuple[ObjectId | None, bool]:
    """Return what the tag has to name, and whether it may name anything. Raises a Problem."""
    if "If-Match" not in request.headers:
        return None, False
    match = request.if_match
    if match.star_tag:
        return None, True
    [*ids] = match.as_set()
    if len(ids) != 1 or not _ID.fullmatch(ids[0]):
        raise invalid("If-Match", "must have the id that the tag was seen to name, 40 hexadecimal digits, or * for any")
    return oid_of(ids[0]), False
