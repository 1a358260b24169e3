"""Changesets: submitting them, one or many, and reading their states and outcomes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from flask import Blueprint, Response, jsonify, request
from msgspec import to_builtins

from app.access.caller import NotAllowed
from app.access.current import caller, own_key, submitter
from app.access.visibility import shown_conflicts, visible
from app.intake.admission import Admitted, Duplicate, admit
from app.intake.intake import Accepted
from app.intake.packing import Item
from app.intake.refusals import FieldRefused
from app.protocol import cursors
from app.protocol.bodies import load_json
from app.protocol.changesets.schemas import load_bulk, load_changeset
from app.protocol.changesets.submissions import Submission
from app.protocol.problems import invalid, not_found, problem_of
from app.protocol.queries import STATUSES, load_key, load_query
from app.routes.changeset_facts import Beside, facts_json, tell_all
from app.routes.claims import claims_on
from app.routes.pages import page
from app.routes.slices import find_slice
from app.service.body_limit import body
from app.service.request_log import about, refused_parts
from app.service.services import services
from storage.backends.turns import taking_turns
from storage.base.errors import LimitReached, Recovering
from storage.base.ids import ChangesetId, is_ulid
from storage.coordination import progress_of
from storage.log.entry import SLOTS, log_position
from storage.log.records import NAMING_OTHERS, Status
from storage.operations import history
from storage.queue import ChangesetState, Stage

routes = Blueprint("changesets", __name__)

Row = tuple[str, str | int | cursors.Position]
"""A changeset, and where a list goes on behind it."""

_FINAL = {"landed": {Status.LANDED, Status.CONFLICTED, Status.REJECTED, Status.ABANDONED}}
_FINAL["committed"] = _FINAL["landed"] | {Status.COMMITTED}
_SHOWN = (
    "commit",
    "seq",
    "merged_count",
    "followed_count",
    "resolves",
    "reason",
    "detail",
    "first",
    "conflicts",
    "conflict_count",
    "priority",
)
# Changesets of a list whose outcomes are read at once. One takes some 100 KB where many long paths collide.
_TOGETHER = 16
_LOOKED_FOR = "changesets are being looked for"
# What closed a conflict, for who may not know of that changeset.
_ANOTHER = "another changeset"
_QUEUES = {Status.QUEUED: False, Status.HELD: True}  # the statuses without an outcome, and whether they are held


def changeset_json(changeset: str, state: ChangesetState, beside: Beside | None = None) -> dict[str, Any]:
    """Return a changeset as the API shows it; `beside` has what is read for several at once."""
    return outcome_json(changeset, state) | facts_json(changeset, state, beside or Beside.of([state]))


def outcome_json(changeset: str, state: ChangesetState) -> dict[str, Any]:
    """Return what became of a changeset: a repeated submission is answered with this, as the first was."""
    outcome = state.outcome
    if outcome is None:
        waiting: dict[str, Any] = {"id": changeset, "slice": state.slice, "status": state.status}
        if not state.held:
            waiting["position"] = state.position
        if state.priority:
            waiting["priority"] = state.priority
        return waiting | {"resolves": state.resolves} if state.resolves else waiting
    about = to_builtins(outcome)
    shown = {name: about[name] for name in _SHOWN if name in about}
    if state.closed_by:
        shown["closed_by"] = state.closed_by
    if "conflicts" in shown:
        shown["conflicts"] = shown_conflicts(caller(), outcome.conflicts)
    if not caller().reads_all:
        _leave_out(shown)
    return {"id": changeset, "slice": outcome.slice, "status": state.status, **shown}


def _leave_out(shown: dict[str, Any]) -> None:
    """Take out what tells of others' changesets."""
    if is_ulid(shown.get("closed_by", "")):
        shown["closed_by"] = _ANOTHER
    shown.pop("first", None)
    if shown.get("reason") in NAMING_OTHERS:
        shown.pop("detail", None)


@routes.post("/slices/<slice:name>/changesets")
def submit(name: str) -> tuple[Response, int]:
    """Take one changeset."""
    key = own_key(load_key(request.headers.get("Idempotency-Key")))
    here, data = services(), body()
    settings = here.settings
    with taking_turns(len(data)), here.intake.gathering.coming():
        submission = load_changeset(load_json(data, settings), settings, name, key)
        admitted = admit(here.repo, [submission], here.lookups.admission, caller(), submitter())
    [outcome] = _take(admitted)
    if isinstance(outcome, Exception):
        raise outcome
    return jsonify(outcome | claims_on([submission])), 202


@routes.post("/changesets")
def submit_many() -> tuple[Response, int]:
    """Take many changesets, with an outcome for each."""
    key = load_key(request.headers.get("Idempotency-Key"))
    here, data = services(), body()
    settings = here.settings
    with taking_turns(len(data)), here.intake.gathering.coming():
        submissions = load_bulk(load_json(data, settings), settings, key, own_key)
        admitted = admit(here.repo, submissions, here.lookups.admission, caller(), submitter())
    refused_parts(problem_of(outcome) for outcome in admitted if isinstance(outcome, NotAllowed))
    limits = [outcome for outcome in admitted if isinstance(outcome, LimitReached)]
    if len(limits) == len(admitted):
        raise limits[0]  # nothing is taken now, and all of it may be later
    outcomes = [
        _refusal(taken, position) if isinstance(taken, Exception) else {"status": 202, "changeset": taken}
        for position, taken in enumerate(_take(admitted))
    ]
    accepted = [
        submission
        for submission, outcome in zip(submissions, outcomes, strict=True)
        if isinstance(submission, Submission) and outcome["status"] == 202
    ]
    return jsonify({"outcomes": outcomes, **claims_on(accepted)}), 202 if accepted else 422


def _refusal(refusal: Exception, position: int) -> dict[str, Any]:
    """Return the outcome of an item that was refused."""
    if isinstance(refusal, FieldRefused):
        refusal = refusal.within(f"changesets[{position}].")
    problem = problem_of(refusal)
    if problem is None:
        raise refusal
    return {"status": problem.status, "problem": problem.to_json()}


def _take(admitted: list[Admitted]) -> list[dict[str, Any] | Exception]:
    """Give the admitted to the intake, and return what each has become, in order."""
    known = [outcome.changeset for outcome in admitted if isinstance(outcome, Duplicate)]
    states = dict(zip(known, states_of(known), strict=True)) if known else {}
    items = [outcome for outcome in admitted if isinstance(outcome, Item)]
    made = services().intake.accept(items) if items else []
    about([*known, *(new.changeset.id for new in made)])
    accepted = iter(made)
    taken: list[dict[str, Any] | Exception] = []
    for outcome in admitted:
        if isinstance(outcome, Exception):
            taken.append(outcome)
        elif isinstance(outcome, Duplicate):
            taken.append(outcome_json(outcome.changeset, states[outcome.changeset]))
        else:
            taken.append(accepted_json(next(accepted)))
    return taken


def accepted_json(accepted: Accepted) -> dict[str, Any]:
    """Return a changeset that has just been accepted as the API shows it."""
    changeset = accepted.changeset
    shown: dict[str, Any] = {"id": changeset.id, "slice": changeset.slice, "status": Status.QUEUED}
    if changeset.hold:
        shown["status"] = Status.HELD
    if accepted.position is not None:
        shown["position"] = accepted.position
    if changeset.priority:
        shown["priority"] = changeset.priority
    if changeset.resolves:
        shown["resolves"] = changeset.resolves
    return shown


@routes.get("/changesets/<changeset:changeset>")
def show(changeset: str) -> Response:
    """Show a changeset; with `wait`, once it has a final answer or the time is over."""
    query = load_query(request.args, services().settings, "wait", "until")
    final = _FINAL[query.until]
    # From here on: looking takes its time too where Redis is slow, and a proxy counts the whole request.
    until = time.monotonic() + (query.wait or 0.0)
    state = state_of(changeset)
    left = until - time.monotonic()
    if left > 0 and state.status not in final:
        who, access = caller(), services().access
        services().waiting.wait(changeset, left, lambda now: now.status in final or access.has_ended(who))
        access.check(who)
        state = state_of(changeset)
    shown = tell_all(changeset_json(changeset, state), ChangesetId(changeset), state)
    return jsonify(shown | _progress_json(changeset, state))


def _progress_json(changeset: str, state: ChangesetState) -> dict[str, Any]:
    """Return how a queued changeset gets on, as far as the caller may know of others'."""
    if state.slice is None or state.status != Status.QUEUED:
        return {}
    now = progress_of(services().repo.view, state.slice, changeset)
    eta = None if now.seconds is None else {"seconds": round(now.seconds, 1)}
    if not caller().reads_all:
        return {"eta": eta}
    if eta is not None:
        eta |= {"decided": now.decided, "over": round(now.over, 1)}
    passed = {"count": now.passed, "changesets": now.passed_by, "complete": now.complete}
    return {"eta": eta, "passed_by": passed}


def state_of(changeset: str) -> ChangesetState:
    """Return where a changeset stands, or refuse: its id is malformed, unknown to the caller, or not known yet."""
    if not is_ulid(changeset):
        raise invalid("id", "is not the id of a changeset")
    repo, who = services().repo, caller()
    [state] = states_of([changeset])
    if state.stage is Stage.UNKNOWN:
        # What could not be queued was accepted all the same, perhaps by another process.
        if repo.inbox.holds([ChangesetId(changeset)]):
            raise Recovering(_LOOKED_FOR)
        raise not_found("changeset", changeset)
    if changeset not in visible(repo, who, {changeset: state}):
        raise not_found("changeset", changeset)
    return state


def states_of(changesets: Sequence[str]) -> list[ChangesetState]:
    """Return where changesets stand. Raises Recovering where the state of one is not certain.

    Until Redis is recovered, accepted changesets may stand in the inbox alone. Redis may also have been restored from
    an older snapshot: a state that is not final there may be final in the log, and an open conflict may be closed.
    """
    recovered, states = services().repo.queue.states(changesets)
    if not recovered and not all(_is_sure(state) for state in states):
        raise Recovering(_LOOKED_FOR)
    return states


def _is_sure(state: ChangesetState) -> bool:
    status = state.status
    return status in _FINAL["landed"] and (status != Status.CONFLICTED or state.closed_by is not None)


@routes.get("/slices/<slice:name>/changesets")
def listing(name: str) -> Response:
    """List a slice's changesets of one status."""
    slice_ = find_slice(name)
    query = load_query(request.args, services().settings, "limit", "cursor", "status")
    if query.status is None:
        raise invalid("status", f"is needed: {', '.join(STATUSES)}")
    filters = {"slice": slice_.id, "status": query.status}
    repo, most = services().repo, query.limit + 1
    if query.status in _QUEUES:
        after = str(cursors.decode(query.cursor, "changesets", filters, (str,))[0]) if query.cursor is not None else ""
        with repo.queue.consistent_read():
            queued = repo.queue.waiting(slice_.id, after, most, held=_QUEUES[Status(query.status)])
        return changesets_page("changesets", filters, [(changeset, changeset) for changeset in queued], query.limit)
    position = int(cursors.decode(query.cursor, "changesets", filters, (int,))[0]) if query.cursor is not None else -1
    # A final status stays true whatever is not known here; what an older copy of Redis calls committed may have landed.
    with repo.queue.consistent_read() if query.status == Status.COMMITTED else nullcontext():
        rows, looked = _decided(slice_.id, query.status, position, most)
    # No conflicts, so none is large.
    together = query.limit if query.status in {Status.COMMITTED, Status.LANDED} else None
    return changesets_page("changesets", filters, rows, query.limit, looked, together)


def changesets_page(
    name: str,
    filters: cursors.Filters,
    rows: Sequence[Row],
    limit: int,
    looked: int | cursors.Position | None = None,
    together: int | None = None,
) -> Response:
    """Answer with a page of changesets, given by id and position; it may end before `limit`, by their bytes.

    `rows` have one more than `limit` where the list goes on; `looked` and `together` are as in
    `page`.
    """

    def show(batch: Sequence[Row]) -> Iterator[dict[str, Any] | None]:
        ids = [changeset for changeset, _ in batch]
        states = dict(zip(ids, states_of(ids), strict=True))
        seen = visible(services().repo, caller(), states)
        beside = Beside.of([states[each] for each in seen])
        yield from (changeset_json(each, state, beside) if each in seen else None for each, state in states.items())

    def position(row: Row) -> cursors.Position:
        return row[1] if isinstance(row[1], tuple) else (row[1],)

    return page(name, filters, rows, limit, position, show, looked=looked, together=together or _TOGETHER)


def _decided(slice_id: str, status: str, after: int, limit: int) -> history.Listed:
    """Return a slice's changesets of a status that is no longer queued, behind a position in the log."""
    repo, high = services().repo, None
    if status in {Status.COMMITTED, Status.LANDED}:
        landed = log_position(repo.view.head().through, SLOTS - 1)
        if status == Status.LANDED:
            high = landed
        else:
            after = max(after, landed)
        status = Status.COMMITTED
    return history.decided(repo, slice_id, status, after, high, limit)
