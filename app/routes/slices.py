"""Slices: making, showing and listing them."""

from collections.abc import Iterator, Sequence
from typing import Any

from flask import Blueprint, Response, jsonify, request

from app.access.caller import NotAllowed
from app.access.current import caller, known_actor
from app.protocol import cursors
from app.protocol.bodies import load_json
from app.protocol.problems import Problem, conflict, not_found, problem_of
from app.protocol.queries import load_query
from app.protocol.slices import load_slice, load_slice_paths, load_slices
from app.routes.pages import page
from app.service.body_limit import body
from app.service.request_log import refused_parts
from app.service.services import services
from storage.access.policy import Right
from storage.backends.turns import taking_turns
from storage.base.errors import Refused
from storage.base.ids import SliceId
from storage.git.paths import recorded_path
from storage.operations.slices import Defined, SliceChanged, SliceExists, change_paths, define, define_many, delete
from storage.view.snapshot import Slice

routes = Blueprint("slices", __name__)

# Slices of a list whose definitions are read at once: one may have megabytes of paths.
_TOGETHER = 8


def slice_json(slice_: Slice) -> dict[str, Any]:
    """Return a slice as the API shows it."""
    paths = sorted(path.decode() for path in slice_.paths)
    return {"id": slice_.id, "name": slice_.name, "paths": paths, "version": slice_.version}


def find_slice(name: str) -> Slice:
    """Return the slice with this id or name, or refuse: one that may not be read whole does not exist."""
    repo = services().repo
    slice_ = repo.confirmed(lambda: repo.view.slice(name))
    if slice_ is None or not caller().may(Right.READ, slice_.paths):
        raise not_found("slice", name)
    return slice_


def collision(error: SliceExists) -> Problem:
    """Return the problem of a name that is taken; of a slice that may not be read, not even the name is told."""
    if caller().may(Right.READ, error.other.paths):
        return conflict(str(error), slice=error.other.id)
    return conflict("the name collides with that of another slice")


def changed(error: SliceChanged) -> Problem:
    """Return the problem of a slice that has another version by now; it is shown to who may read it."""
    if caller().may(Right.READ, error.current.paths):
        return conflict(str(error), slice=slice_json(error.current))
    return conflict("the slice has another version by now")


def encoded(paths: Sequence[str]) -> list[bytes]:
    """Return the paths of a definition as rights have them."""
    return [path.encode() for path in paths]


@routes.post("/slices")
def create() -> tuple[Response, int]:
    """Make a slice, or many."""
    repo, data = services().repo, body()
    with taking_turns(len(data)):
        value = load_json(data, repo.settings)
        many = load_slices(value, repo.settings) if type(value) is dict and "slices" in value else None
        name, paths = load_slice(value, repo.settings) if many is None else ("", [])
    if many is not None:
        return _create_many(many)
    caller().require(Right.MAINTAIN, encoded(paths))
    return jsonify(slice_json(define(repo, name, paths, known_actor()))), 201


def _create_many(wanted: Sequence[tuple[str, list[str]] | Refused]) -> tuple[Response, int]:
    """Make slices, with an outcome for each."""
    wanted = [item if isinstance(item, Refused) else _allowed(*item) for item in wanted]
    refused_parts(problem_of(item) for item in wanted if isinstance(item, NotAllowed))
    valid = [item for item in wanted if not isinstance(item, Refused)]
    defined = iter(define_many(services().repo, valid, known_actor()) if valid else [])
    outcomes = [_outcome(item if isinstance(item, Refused) else next(defined)) for item in wanted]
    statuses = {outcome["status"] for outcome in outcomes}
    return jsonify({"outcomes": outcomes}), next((status for status in (201, 200, 422) if status in statuses), 403)


def _allowed(name: str, paths: list[str]) -> tuple[str, list[str]] | NotAllowed:
    try:
        caller().require(Right.MAINTAIN, encoded(paths))
    except NotAllowed as refusal:
        return refusal
    return name, paths


def _outcome(made: Defined | Refused) -> dict[str, Any]:
    if isinstance(made, Defined):
        return {"status": 201 if made.is_new else 200, "slice": slice_json(made.slice)}
    problem = problem_of(made)
    assert problem is not None, "the table of problems has it"
    return {"status": problem.status, "problem": problem.to_json()}


@routes.get("/slices/<slice:name>")
def show(name: str) -> Response:
    """Show a slice."""
    return jsonify(slice_json(find_slice(name)))


@routes.patch("/slices/<slice:name>")
def change(name: str) -> Response:
    """Give a slice other paths."""
    paths, version = load_slice_paths(load_json(body(), services().settings), services().settings)
    slice_ = find_slice(name)
    caller().require(Right.MAINTAIN, [*encoded(paths), *slice_.paths])
    # The rights are those of this version.
    version = version or slice_.version
    return jsonify(slice_json(change_paths(services().repo, slice_.id, paths, version, known_actor())))


@routes.delete("/slices/<slice:name>")
def remove(name: str) -> tuple[str, int]:
    """Delete a slice."""
    query = load_query(request.args, services().settings, "version")
    slice_ = find_slice(name)
    caller().require(Right.MAINTAIN, slice_.paths)
    delete(services().repo, slice_.id, query.version or slice_.version, known_actor())
    return "", 204


@routes.get("/slices")
def listing() -> Response:
    """List slices by id; with `path`, those that cover it."""
    view, may = services().repo.view, caller().may
    query = load_query(request.args, services().settings, "limit", "cursor", "path", "encoding")
    filters = {"path": recorded_path(query.path) if query.path else None}
    after = str(cursors.decode(query.cursor, "slices", filters, (str,))[0]) if query.cursor is not None else ""
    limit = query.limit + 1
    if query.path and not may(Right.READ, [query.path]):
        ids: list[str] = []
    else:
        ids = view.slices_covering(query.path, after, limit) if query.path else view.slice_ids(after, limit)

    def show(batch: Sequence[str]) -> Iterator[dict[str, Any] | None]:
        there = {slice_.id: slice_ for slice_ in view.slices(batch) if may(Right.READ, slice_.paths)}
        yield from (slice_json(there[SliceId(slice_id)]) if slice_id in there else None for slice_id in batch)

    return page("slices", filters, ids, query.limit, lambda slice_id: (slice_id,), show, together=_TOGETHER)
