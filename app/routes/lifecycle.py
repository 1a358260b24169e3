"""What becomes of a changeset besides committing: release, abandon, rebase, resolve; and a check before it is one."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request

from app.admission import admit, check_room
from app.dry_run import dry_run
from app.errors import Problem, conflict, not_found
from app.intake import Item, ask_for_commit_safely
from app.queries import load_key
from app.resolutions import load_resolutions
from app.routes.changesets import accepted_json, changeset_json, standing_of, status_of
from app.schemas import load_changeset, load_json
from app.services import services
from app.successors import Successor, fingerprint_of, key_of, paths_of, read_changeset, rebasable
from storage.entries import Status
from storage.ids import ChangesetId
from storage.lifecycle import NotPossible, abandon, release
from storage.queue import Standing

routes = Blueprint("lifecycle", __name__)


@routes.post("/changesets/<changeset>/release")
def release_one(changeset: str) -> Response:
    """Let a held changeset be committed."""
    standing_of(changeset)
    try:
        release(services().repo, ChangesetId(changeset))
    except NotPossible as error:
        raise conflict(str(error)) from None
    ask_for_commit_safely(services().repo)
    return jsonify(changeset_json(changeset, standing_of(changeset)))


@routes.post("/changesets/<changeset>/abandon")
def abandon_one(changeset: str) -> Response:
    """Take back a changeset, or close its conflict."""
    standing_of(changeset)
    _abandon(ChangesetId(changeset))
    return jsonify(changeset_json(changeset, standing_of(changeset)))


@routes.post("/changesets/<changeset>/rebase")
def rebase(changeset: str) -> tuple[Response, int]:
    """Make a new changeset on the tip of one that was not to be committed as it is."""
    old = ChangesetId(changeset)
    standing = standing_of(old)
    key = load_key(request.headers.get("Idempotency-Key")) or key_of("rebase", old)
    known = _known(key, fingerprint_of("rebase", old))
    if known is not None:
        return jsonify(changeset_json(known, standing_of(known))), 202
    if not rebasable(standing):
        raise conflict(f"it is {status_of(standing)}")
    item = _successor(old, standing).rebase(key)
    if standing.held:
        # First, so that it can never be released beside the new one; what is abandoned may still be rebased.
        _abandon(old)
    return jsonify(_accept(item)), 202


@routes.post("/changesets/<changeset>/resolve")
def resolve(changeset: str) -> tuple[Response, int]:
    """Make a new changeset with the conflicts of one resolved."""
    old = ChangesetId(changeset)
    standing = standing_of(old)
    own_key = load_key(request.headers.get("Idempotency-Key"))
    paths, message = load_resolutions(load_json(request.get_data()), services().settings)
    key = own_key or key_of("resolve", old)
    fingerprint = fingerprint_of("resolve", old, (list(paths_of(paths)), message))
    known = _known(key, fingerprint)
    if known is not None:
        return jsonify(changeset_json(known, standing_of(known))), 202
    if status_of(standing) != Status.CONFLICTED:
        raise conflict(f"it is {status_of(standing)}, not conflicted")
    made = _accept(_successor(old, standing).resolve(paths, key, fingerprint, message))
    return jsonify(made), 202


@routes.post("/slices/<slice:name>/check")
def check(name: str) -> Response:
    """Say what would become of a changeset if it were submitted now."""
    submission = load_changeset(load_json(request.get_data()), services().settings, name)
    [admitted] = admit(services().repo, [submission], bulk=False)
    if isinstance(admitted, Problem):
        raise admitted
    assert isinstance(admitted, Item)
    return jsonify(dry_run(services().repo, admitted))


def _abandon(changeset: ChangesetId) -> None:
    try:
        abandon(services().repo, changeset)
    except NotPossible as error:
        raise conflict(str(error)) from None


def _known(key: str, fingerprint: str) -> ChangesetId | None:
    """Return the changeset that a key has made already; refuse another request with it."""
    found = services().repo.queue.admit([], [], [key]).keys.get(key)
    if found is None:
        return None
    if found[1] != fingerprint:
        raise conflict(f"it has been resolved in another way by {found[0]}", changeset=found[0])
    return found[0]


def _successor(old: ChangesetId, standing: Standing) -> Successor:
    repo = services().repo
    said = read_changeset(repo, old, standing)
    where = repo.view.slice(said.slice)
    if where is None:
        raise not_found("slice", said.slice)
    return Successor(repo, where, said, standing)


def _accept(item: Item) -> dict[str, Any]:
    repo = services().repo
    check_room(repo, repo.queue.admit([item.slice], [], []), [item.submission], item.slice)
    [accepted] = services().intake.accept([item])
    return accepted_json(accepted)
