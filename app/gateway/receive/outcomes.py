"""What a push is told of its changesets: lines for its user, and whether its ref counts as pushed. Pure."""

from __future__ import annotations

from app.access.caller import Caller
from app.access.visibility import is_hidden
from app.gateway.receive.commits import SHOWN_DIGITS
from app.gateway.receive.known import Known
from app.gateway.receive.submissions import shown_path
from storage.base.ids import ObjectId
from storage.git.paths import raw_path
from storage.log.records import NAMING_OTHERS, Outcome, Status

FINAL = frozenset({Status.LANDED, Status.CONFLICTED, Status.REJECTED, Status.ABANDONED})
GOOD = frozenset({Status.HELD, Status.QUEUED, Status.COMMITTED, Status.LANDED})
AGAIN = "run: git pull --rebase, then push again"


def told(commit: ObjectId, subject: str, known: Known) -> str:
    """Return the line that says where a commit's changeset stands."""
    position = known.state.position
    where = f" at position {position}" if known.status == Status.QUEUED and position is not None else ""
    return f"{commit.hex()[:SHOWN_DIGITS]} {subject}: {known.status}{where} (changeset {known.changeset})"


def refusal(known: Known, who: Caller) -> str | None:
    """Return why a commit did not land, in a line; None where it did, or may still."""
    outcome = known.state.outcome
    if known.status in GOOD or outcome is None:
        return None
    if known.status == Status.CONFLICTED:
        return f"{_conflict(outcome, who)}; {AGAIN}"
    if known.status == Status.ABANDONED:
        return f"changeset {known.changeset} was abandoned"
    if outcome.reason == "base-not-landed":
        return f"not landed, since a commit below it was not; {AGAIN}"
    detail = outcome.detail if who.reads_all or outcome.reason not in NAMING_OTHERS else None
    return f"rejected as {outcome.reason}" + (f": {detail}" if detail else "")


def _conflict(outcome: Outcome, who: Caller) -> str:
    first = outcome.conflicts[0]
    text = f"conflict in {shown_path(raw_path(first.path))} ({first.kind}"
    if first.blocker and not is_hidden(who, first):
        text += f" with {shown_path(raw_path(first.blocker))}"
    more = outcome.conflict_count - 1
    return text + (f") and {more} more" if more > 0 else ")")
