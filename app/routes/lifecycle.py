"""Operations on a changeset: release, abandon, rebase, resolve; and a check before it is submitted."""

from collections.abc import Callable

from flask import Blueprint, Response, jsonify, request
from msgspec import structs

from app.access.caller import ROOT_PATH
from app.access.current import caller, known_actor, own_key, submitter
from app.access.visibility import slice_paths
from app.intake.admission import admit_to_check
from app.intake.checks import check_capacity, keys_of
from app.intake.dry_run import dry_run
from app.intake.packing import Item
from app.intake.successors import Successor, fingerprint_of, key_of, paths_of, read_changeset, rebasable
from app.protocol.bodies import load_json
from app.protocol.changesets.resolutions import load_resolutions
from app.protocol.changesets.schemas import load_changeset
from app.protocol.problems import conflict, key_reused, not_found
from app.protocol.queries import load_key
from app.routes.changesets import accepted_json, changeset_json, outcome_json, state_of, states_of
from app.service.body_limit import body
from app.service.confirm_refusals import confirm_refusals
from app.service.request_log import about
from app.service.services import services
from app.shares.limits import check_queued, limits_of
from storage.access.policy import Right
from storage.backends.turns import taking_turns
from storage.base.ids import ChangesetId
from storage.log.records import Status
from storage.operations.lifecycle import abandon, release
from storage.operations.succession import successor_of, turn
from storage.queue import ChangesetState
from tasks.notify import ask_for_commit_safely

routes = Blueprint("lifecycle", __name__)

# Successors of one changeset, by one verb and without a key of their writers', that may be abandoned or rejected.
_MAX_ATTEMPTS = 100


@routes.post("/changesets/<changeset>/release")
@confirm_refusals
def release_one(changeset: str) -> Response:
    """Let a held changeset be committed."""
    _require(changeset, state_of(changeset), own=False)
    release(services().repo, ChangesetId(changeset), known_actor())
    ask_for_commit_safely(services().repo)
    return jsonify(changeset_json(changeset, state_of(changeset)))


@routes.post("/changesets/<changeset>/abandon")
@confirm_refusals
def abandon_one(changeset: str) -> Response:
    """Take back a changeset, or close its conflict."""
    _require(changeset, state_of(changeset))
    abandon(services().repo, ChangesetId(changeset), known_actor())
    return jsonify(changeset_json(changeset, state_of(changeset)))


@routes.post("/changesets/<changeset>/rebase")
@confirm_refusals
def rebase(changeset: str) -> tuple[Response, int]:
    """Make a new changeset on the tip of one that was not to be committed as it is."""
    old = ChangesetId(changeset)
    _require(old, state_of(old))

    def rebased(state: ChangesetState, key: str) -> Item:
        if not rebasable(state):
            raise conflict(f"it is {state.status}")
        return _successor(old, state).rebase(key, caller())

    return _replace("rebase", old, fingerprint_of("rebase", old), rebased)


@routes.post("/changesets/<changeset>/resolve")
@confirm_refusals
def resolve(changeset: str) -> tuple[Response, int]:
    """Make a new changeset with the conflicts of one resolved."""
    old = ChangesetId(changeset)
    _require(old, state_of(old))
    settings, data = services().settings, body()
    with taking_turns(len(data)):
        paths, message = load_resolutions(load_json(data, settings), settings)
    fingerprint = fingerprint_of("resolve", old, (list(paths_of(paths)), message))

    def resolved(state: ChangesetState, key: str) -> Item:
        if state.status != Status.CONFLICTED:
            raise conflict(f"it is {state.status}, not conflicted")
        return _successor(old, state).resolve(paths, key, fingerprint, message, caller())

    return _replace("resolve", old, fingerprint, resolved)


@routes.post("/slices/<slice:name>/check")
def check(name: str) -> Response:
    """Return the outcome that a changeset would have if it were submitted now."""
    settings, data = services().settings, body()
    with taking_turns(len(data)):
        submission = load_changeset(load_json(data, settings), settings, name)
        item = admit_to_check(services().repo, submission, caller(), submitter())
    return jsonify(services().repo.confirmed(lambda: dry_run(services().repo, item, caller())))


def _require(changeset: str, state: ChangesetState, own: bool = True) -> None:
    """Refuse who may not do something with a changeset: maintainers of its paths may, and with `own` its submitter."""
    who = caller()
    if who.may(Right.MAINTAIN, [ROOT_PATH]):
        return
    submitted = read_changeset(services().repo, ChangesetId(changeset), state)
    is_own = own and submitted.by is not None and submitted.by.principal == who.principal
    needed = Right.WRITE if is_own else Right.MAINTAIN
    if submitted.changes:
        who.require(needed, [change.path for change in submitted.changes])
        return
    paths = slice_paths(services().repo, submitted)
    if is_own and who.may_somewhere(needed, paths):
        return  # it may write a part of the slice alone, and have dropped its changes there
    who.require(needed, sorted(paths) or [ROOT_PATH], only_readable=True)


def _replace(
    verb: str, old: ChangesetId, fingerprint: str, make: Callable[[ChangesetState, str], Item]
) -> tuple[Response, int]:
    """Answer with the successor of `old` by `verb`: the one that a repeat made, or what `make` makes with a key."""
    repo = services().repo
    with turn(repo, old):
        key, known = _known(verb, old, fingerprint)
        if known is not None:
            about([known])
            return jsonify(outcome_json(known, state_of(known))), 202
        state = _free(old)
        item = structs.replace(make(state, key), by=submitter())
        caller().require(Right.WRITE, [change.path for change in item.submission.changes], only_readable=True)
        if item.submission.priority > 0 and not caller().may(Right.MAINTAIN, [c.path for c in item.submission.changes]):
            item = structs.replace(item, submission=structs.replace(item.submission, priority=0))
        admission = repo.queue.admit([item.slice], principals=[caller().principal])
        check_capacity(repo.settings, admission, [item.submission], item.slice)
        check_queued(limits_of(repo.settings, caller()), caller(), admission.waiting_of[caller().principal], 1)
        if state.held:
            # Before the new one, so that it can never be released beside it; what is abandoned may still be rebased.
            abandon(repo, old, known_actor(), only_held=True)
        [accepted] = services().intake.accept([item])
        about([accepted.changeset.id])
        return jsonify(accepted_json(accepted)), 202


def _known(verb: str, old: ChangesetId, fingerprint: str) -> tuple[str, ChangesetId | None]:
    """Return the key for a successor of `old`, and the one that has it already. Raises a Problem if it is another."""
    queue = services().repo.queue
    own = own_key(load_key(request.headers.get("Idempotency-Key")))
    if own is not None:
        owners = queue.key_owners(list(keys_of(own)))
        owner = next((owners[key] for key in keys_of(own) if key in owners), None)
        if owner is not None and owner[1] != fingerprint:
            raise key_reused()
        return own, owner[0] if owner else None
    keys = [key_of(verb, old, attempt) for attempt in range(_MAX_ATTEMPTS)]
    owners = queue.key_owners(keys)
    states = dict(zip(owners, states_of([made for made, _ in owners.values()]), strict=True))
    for key in keys:
        if key not in owners:
            return key, None
        made, owners_fingerprint = owners[key]
        if states[key].status in {Status.ABANDONED, Status.REJECTED}:
            continue  # nothing came of it, so that it takes nobody's place
        if owners_fingerprint != fingerprint:
            raise conflict(f"it has been resolved in another way by {made}", changeset=made)
        return key, made
    raise conflict(f"nothing came of {_MAX_ATTEMPTS} attempts; give an Idempotency-Key")


def _free(old: ChangesetId) -> ChangesetState:
    """Return where a changeset stands whose place nothing takes. Raises a Problem, and Recovering."""
    # Asked before its outcome: what is decided in between has closed the conflict by then.
    successor = successor_of(services().repo, old)
    state = state_of(old)
    if state.closed_by:
        raise conflict(f"its conflict is closed: {state.closed_by}", closed_by=state.closed_by)
    if successor is not None:
        raise conflict(f"{successor} is to take its place, and not decided yet", changeset=successor)
    return state


def _successor(old: ChangesetId, state: ChangesetState) -> Successor:
    repo = services().repo
    submission = read_changeset(repo, old, state)
    where = repo.view.slice(submission.slice)
    if where is None:
        raise not_found("slice", submission.slice)
    return Successor(repo, where, submission, state)
