"""What became of commits that were pushed before: by their ids, whoever pushed them, for good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.access.caller import Caller
from app.gateway.receive.options import CHANGE_ID, TOPIC
from app.gateway.receive.submissions import keys_of
from app.protocol.changesets.submissions import Submission
from storage.base.errors import Recovering
from storage.base.ids import ChangesetId, ObjectId, is_ulid
from storage.log.facts import digest_of, label_value
from storage.log.records import Outcome, Status
from storage.operations.listed import TOP
from storage.queue import Admission, ChangesetState
from storage.repository import Repository
from storage.view.snapshot import Slice

LookUp = Callable[[Sequence[str], Sequence[str], Sequence[str], Sequence[str]], Admission]

_HOPS = 16
# Conflicts with one label that are looked at, the newest first.
_LOOKED_AT = 32


@dataclass(frozen=True, slots=True)
class Known:
    """The changeset that a commit became, or what took its place."""

    changeset: ChangesetId
    state: ChangesetState
    status: Status


class KnownCommits:
    """Looks up what pushed commits became."""

    def __init__(self, repo: Repository, look_up: LookUp) -> None:
        self._repo = repo
        self._look_up = look_up

    def find(self, commits: Sequence[ObjectId]) -> tuple[dict[ObjectId, Known], dict[ObjectId, str]]:
        """Return what became of those commits of which anything did, and for each the key of a next attempt.

        What was abandoned or rejected counts as nothing. Raises Unavailable.
        """
        keys = {commit: keys_of(commit) for commit in commits}
        owners = self._look_up([], [], [key for each in keys.values() for key in each], []).keys
        states = self.states([changeset for changeset, _ in owners.values()])
        found: dict[ObjectId, Known] = {}
        free: dict[ObjectId, str] = {}
        for commit, own in keys.items():
            # The key of an earlier attempt may have left the view before that of a later one.
            free[commit] = next((key for key in own if key not in owners), own[-1])
            for changeset in (owners[key][0] for key in own if key in owners):
                known = self.settled(changeset, states[changeset])
                if known.status not in (Status.ABANDONED, Status.REJECTED):
                    found[commit] = known
        # What has left the view is in the archive, and its key may be forgotten.
        left = {commit.hex(): commit for commit in commits if commit not in found}
        archived = self._repo.archive.pushed(list(left))
        states = self.states(list(archived.values()))
        for name, changeset in archived.items():
            known = self.settled(changeset, states[changeset])
            if known.status not in (Status.ABANDONED, Status.REJECTED):
                found[left[name]] = known
        return found, free

    def states(self, changesets: Sequence[ChangesetId]) -> dict[ChangesetId, ChangesetState]:
        """Return where changesets stand. Raises Recovering where Redis may be older than the log, and Unavailable."""
        if not changesets:
            return {}
        recovered, states = self._repo.queue.states(changesets)
        if not recovered:
            raise Recovering("changesets are being looked for")
        return dict(zip(changesets, states, strict=True))

    def settled(self, changeset: ChangesetId, state: ChangesetState) -> Known:
        """Return a changeset, or what took its place: a repeat's first one, and what closed a conflict."""
        for _ in range(_HOPS):
            following = _following(state)
            if following is None:
                break
            changeset = following
            state = self.states([changeset])[changeset]
        status = state.status
        if status == Status.CONFLICTED and state.closed_by == "abandoned":
            status = Status.ABANDONED
        return Known(changeset, state, status)

    def conflict_before(self, submission: Submission, where: Slice, who: Caller) -> ChangesetId | None:
        """Return the open conflict whose place a submission takes: its submitter's last one with its label.

        By the trailer Change-Id, else by the topic and the same subject. Raises Unavailable.
        """
        for key in (CHANGE_ID, TOPIC):
            value = submission.labels.get(key)
            if value is None:
                continue
            digest = digest_of("label", label_value(key, value))
            rows = self._repo.view.listed(digest, -1, TOP, _LOOKED_AT, newest_first=True)
            states = self.states([changeset for changeset, _ in rows])
            for changeset, state in states.items():
                if self._is_before(state, key, submission, where, who) and self._is_free(changeset):
                    return changeset
            if key == CHANGE_ID:
                return None
        return None

    def _is_before(self, state: ChangesetState, key: str, submission: Submission, where: Slice, who: Caller) -> bool:
        outcome, facts = state.outcome, state.facts
        if outcome is None or facts is None or outcome.status != Status.CONFLICTED or state.closed_by:
            return False
        if outcome.slice != where.id or facts.labels.get(key) != submission.labels[key]:
            return False
        if not is_own(outcome, who):
            return False
        return key == CHANGE_ID or facts.subject == submission.message.strip().partition("\n")[0].rstrip()[:160]

    def _is_free(self, changeset: ChangesetId) -> bool:
        """Tell whether nothing is on its way to take the place of a conflict."""
        return self._repo.queue.successor(changeset)[1] is None


def is_own(outcome: Outcome | None, who: Caller) -> bool:
    """Tell whether a caller submitted what has this outcome; where nobody is known, everybody did."""
    by = outcome.by if outcome else None
    return (by.principal if by else "") == (who.principal if who.is_known else "")


def _following(state: ChangesetState) -> ChangesetId | None:
    outcome = state.outcome
    if outcome is None:
        return None
    if outcome.reason == "duplicate" and outcome.first:
        return outcome.first
    if outcome.status == Status.CONFLICTED and state.closed_by and is_ulid(state.closed_by):
        return ChangesetId(state.closed_by)
    return None
