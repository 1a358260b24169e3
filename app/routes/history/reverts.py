"""Reverting a committed changeset by a new one."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request
from msgspec import structs

from app.access.current import caller, own_key, submitter
from app.intake.checks import check_capacity, check_key, keys_of
from app.intake.reverts import Undone, revert
from app.intake.successors import fingerprint_of
from app.protocol.problems import conflict, not_found
from app.protocol.queries import load_key
from app.routes.changesets import accepted_json, outcome_json, state_of
from app.service.confirm_refusals import confirm_refusals
from app.service.request_log import about
from app.service.services import services
from app.shares.limits import check_queued, limits_of
from storage.base.ids import ChangesetId, oid_of
from storage.log.records import Status

routes = Blueprint("reverts", __name__)


@routes.post("/changesets/<changeset>/revert")
@confirm_refusals
def make(changeset: str) -> tuple[Response, int]:
    """Make a changeset that takes back what a committed one has changed."""
    here, old = services(), ChangesetId(changeset)
    state = state_of(old)
    outcome = state.outcome
    if outcome is None or outcome.status != Status.COMMITTED or outcome.commit is None:
        raise conflict(f"it is {state.status}: what is to be reverted has to be committed")
    keys = keys_of(key := own_key(load_key(request.headers.get("Idempotency-Key"))))
    admission = here.repo.queue.admit([outcome.slice], keys=keys, principals=[caller().principal])
    if (known := check_key(admission, keys, fingerprint_of("revert", old))) is not None:
        about([known])
        return jsonify(outcome_json(known, state_of(known))), 202
    where = here.repo.view.slice(outcome.slice)
    if where is None:
        raise not_found("slice", outcome.slice)
    subject = here.repo.objects.commit(oid_of(outcome.commit)).message.partition("\n")[0]
    item = revert(here.repo, where, Undone(old, oid_of(outcome.commit), subject), key, caller())
    item = structs.replace(item, by=submitter())
    check_capacity(here.settings, admission, [item.submission], item.slice)
    check_queued(limits_of(here.settings, caller()), caller(), admission.waiting_of[caller().principal], 1)
    [accepted] = here.intake.accept([item])
    about([accepted.changeset.id])
    return jsonify(accepted_json(accepted)), 202
