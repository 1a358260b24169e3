"""Mirrors: Git servers to which what lands is pushed, or from which commits are taken."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Response, jsonify

from app.access.current import caller, known_actor
from app.protocol.bodies import load_json
from app.protocol.git.mirrors import load_mirror, load_report, load_stop, mirror_json
from app.protocol.problems import conflict, invalid, not_found
from app.routes.slices import find_slice
from app.service.body_limit import body
from app.service.confirm_refusals import confirm_refusals
from app.service.git.mirror_status import standings
from app.service.services import services
from storage.access.policy import Right
from storage.mirrors.records import Direction, Mirror
from storage.mirrors.remotes import NAME
from storage.operations.git import mirrors
from storage.queue import MirrorProgress
from storage.view.mirrors import mirror_of

routes = Blueprint("mirrors", __name__)


@routes.post("/mirrors")
@confirm_refusals
def create() -> tuple[Response, int]:
    """Make a mirror."""
    here = services()
    wanted = load_mirror(load_json(body(), here.settings), here.settings)
    slice_id = find_slice(wanted.slice).id if wanted.slice is not None else None
    mirror = Mirror(
        name=wanted.name, url=wanted.url, ref=wanted.ref, direction=wanted.direction, slice=slice_id,
        start=wanted.start, created=int(time.time()),
    )  # fmt: skip
    mirrors.create(here.repo, mirror, known_actor())
    return jsonify(_json(mirror)), 201


@routes.get("/mirrors")
def listing() -> Response:
    """List all mirrors, and how they stand: `max_mirrors` at most, so on one page."""
    found = standings(services().repo)
    return jsonify({"items": [{**mirror_json(each.mirror), **each.as_json()} for each in found], "next": None})


@routes.get("/mirrors/<mirror>")
def show(mirror: str) -> Response:
    """Show a mirror, and how it stands."""
    return jsonify(_json(_find(mirror)))


@routes.delete("/mirrors/<mirror>")
def remove(mirror: str) -> tuple[str, int]:
    """Delete a mirror; a push that is under way ends."""
    mirrors.delete(services().repo, _find(mirror).name, known_actor())
    return "", 204


@routes.post("/mirrors/<mirror>/stop")
@confirm_refusals
def stop(mirror: str) -> Response:
    """Stop a mirror until it is resumed."""
    here, found = services(), _find(mirror)
    reason, detail = load_stop(load_json(body(), here.settings), here.settings)
    return jsonify(_json(mirrors.stop(here.repo, found.name, reason, detail, known_actor())))


@routes.post("/mirrors/<mirror>/resume")
def resume(mirror: str) -> Response:
    """Let a mirror go on that was stopped; one that waits for its next try is tried at once."""
    return jsonify(_json(mirrors.resume(services().repo, _find(mirror).name, known_actor())))


@routes.put("/mirrors/<mirror>/report")
@confirm_refusals
def report(mirror: str) -> Response:
    """Note what the process that takes a mirror's commits has seen."""
    here, found = services(), _find(mirror)
    seen = load_report(load_json(body(), here.settings), here.settings)
    if found.direction != Direction.IN:
        raise conflict("what lands is pushed to this mirror, and its sender says how it stands")
    [known] = here.repo.mirrors.progress([found.name])
    now = time.time()
    old = known or MirrorProgress(even_at=now)
    progress = MirrorProgress(
        remote=seen.remote or old.remote, local=seen.taken or old.local, behind=seen.behind, error=seen.error,
        detail=seen.detail, failed=old.failed + 1 if seen.error else 0, looked=old.looked if seen.error else now,
        even_at=old.even_at if seen.behind or seen.error else now,
    )  # fmt: skip
    here.repo.mirrors.save(found.name, progress)
    return jsonify(_json(found))


def _find(name: str) -> Mirror:
    """Return a mirror, or refuse: for who may not see it, it does not exist.

    Admins see all; the principal of a mirror whose commits are taken sees that one, and tells of it.
    """
    if not NAME.fullmatch(name):
        raise invalid("mirror", "is not the name of a mirror")
    repo, who = services().repo, caller()
    found = repo.confirmed(lambda: mirror_of(repo.view, name))
    is_own = found is not None and found.direction == Direction.IN and who.principal == found.principal
    if found is None or not (is_own or who.may(Right.ADMIN, [b"/"])):
        raise not_found("mirror", name)
    return found


def _json(mirror: Mirror) -> dict[str, Any]:
    [standing] = standings(services().repo, [mirror])
    return {**mirror_json(mirror), **standing.as_json()}
