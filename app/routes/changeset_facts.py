"""What answers tell of changesets besides what became of them: author, message, labels, base, paths and times."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.access.current import caller
from app.access.visibility import visible
from app.intake.successors import read_changeset
from app.service.services import services
from storage.base.errors import Corrupt, Unavailable
from storage.base.ids import ChangesetId, bytes_of, is_ulid, oid_of
from storage.git.paths import paths_json
from storage.git.trailers import CHANGESET_ID, CHANGESET_SUBMITTER
from storage.log.records import Facts, Outcome, Status
from storage.lookup.object_store import ObjectMissing
from storage.operations.listed import landed_at
from storage.queue import ChangesetState

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Beside:
    """What is read for several changesets at once."""

    bases: set[str] = field(default_factory=set)  # changesets that are bases, of which the caller may know
    landed: dict[int, int] = field(default_factory=dict)  # by entry, when its commits landed

    @classmethod
    def of(cls, states: Iterable[ChangesetState]) -> Beside:
        """Read it for changesets in these states: nothing, as a rule. Raises Unavailable and Corrupt."""
        states, repo, who = list(states), services().repo, caller()
        landed = landed_at(repo, [outcome for state in states if (outcome := _landed(state))])
        bases: set[str] = set()
        if not who.reads_all:
            facts = [facts for state in states if (facts := state.facts)]
            stacked = sorted({each.base for each in facts if each.base and is_ulid(each.base)})
            if stacked:
                bases = visible(repo, who, dict(zip(stacked, repo.queue.states(stacked)[1], strict=True)))
        return cls(bases, landed)


def _landed(state: ChangesetState) -> Outcome | None:
    outcome = state.outcome
    return outcome if outcome and outcome.status == Status.COMMITTED and outcome.seq <= state.through else None


def facts_json(changeset: str, state: ChangesetState, beside: Beside) -> Json:
    """Return what answers tell of a changeset of which the caller may know; what is not known is left out."""
    outcome, facts = state.outcome, state.facts
    shown: Json = {}
    submitter = outcome.by.principal if outcome and outcome.by else state.told.by if state.told else ""
    if submitter:
        shown["submitter"] = submitter
    if facts:
        shown |= said_json(facts)
        if facts.base and (not is_ulid(facts.base) or caller().reads_all or facts.base in beside.bases):
            shown["base"] = facts.base
        shown |= paths_json("paths", state.covers)
        shown["path_count"] = facts.paths or len(state.covers)
    shown["submitted"] = _time(submitted_at(changeset), "milliseconds")
    if outcome and outcome.at:
        shown["decided"] = _time(outcome.at)
    if (landed := _landed(state)) and landed.seq in beside.landed:
        shown["landed"] = _time(beside.landed[landed.seq])
    return shown


def said_json(facts: Facts) -> Json:
    """Return author, message and labels as lists show them."""
    name, email = facts.author
    shown: Json = {"author": {"name": name, "email": email}, "message": facts.subject}
    if facts.more:
        shown["message_cut"] = True
    if facts.labels:
        shown["labels"] = facts.labels
    return shown


def short_json(changeset: str, state: ChangesetState) -> Json:
    """Return the few lines by which a person knows a changeset."""
    facts = facts_json(changeset, state, Beside())
    return {name: facts[name] for name in ("author", "submitter", "message", "labels", "submitted") if name in facts}


def tell_all(shown: Json, changeset: ChangesetId, state: ChangesetState) -> Json:
    """Add to an answer about one changeset what lists have not: its whole message.

    Where the store does not answer, it stays cut: what became of the changeset can be told all the same.
    """
    facts = state.facts
    with suppress(Unavailable, Corrupt, ObjectMissing):
        if facts and facts.more:
            shown["message"] = _message(changeset, state)
            del shown["message_cut"]
    return shown


def _message(changeset: ChangesetId, state: ChangesetState) -> str:
    """Return a whole message, a commit's without Sluice's trailers. Raises Unavailable, Corrupt and ObjectMissing."""
    outcome = state.outcome
    if outcome is None or outcome.commit is None:
        return read_changeset(services().repo, changeset, state).message
    message = services().repo.objects.commit(oid_of(outcome.commit)).message
    if outcome.by:
        message = message.replace(f"{CHANGESET_SUBMITTER}: {outcome.by.principal}\n", "")
    return message.replace(f"{CHANGESET_ID}: {changeset}\n", "").rstrip()


def submitted_at(changeset: str) -> float:
    """Return when a changeset was submitted, in seconds: its id says so."""
    return int.from_bytes(bytes_of(changeset)[:6], "big") / 1000


def _time(seconds: float, precision: str = "seconds") -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision)
