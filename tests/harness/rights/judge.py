"""The rules about rights: what was asked and answered, against the policies, tokens and decisions that the log has.

Rights are read off each policy slowly, by tests/support/slow_rights.py. A policy may have been in force from when it
was first sent; it was not any more SETTLES seconds after a later one was acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from storage.access.policy import ROOT, Policy, Right, Role
from tests.harness.history import Asked, History, IssuedToken
from tests.harness.rights.badge import ROOM_OF, SETTLES
from tests.support.slow_rights import allowed, within

if TYPE_CHECKING:
    from tests.harness.checker import Case

_RIGHTS = {"read": Right.READ, "write": Right.WRITE, "maintain": Right.MAINTAIN, "admin": Right.ADMIN}


@dataclass(frozen=True, slots=True)
class Limit:
    """What a token is limited to, and whose it is."""

    role: Role | None = None
    paths: tuple[str, ...] = ()
    principal: str = ""


@dataclass(frozen=True, slots=True)
class DecidedBy:
    """A changeset that an entry decides."""

    seq: int
    changeset: str
    status: str
    reason: str | None
    principal: str | None  # None: it was submitted without a token
    token: str  # its id, empty for the root token
    paths: tuple[str, ...]  # that it changes, of a committed one


@dataclass(slots=True)
class LoggedRights:
    """What the log says about rights."""

    policies: list[tuple[int, str, Policy]] = field(default_factory=list)  # in order: entry, mark, policy
    issued: dict[str, Limit] = field(default_factory=dict)  # by the token's id
    revoked: set[str] = field(default_factory=set)
    decided: list[DecidedBy] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Period:
    """When a policy may have been in force."""

    begins: float
    ends: float
    policy: Policy


class _Rights:
    """Policies and tokens of a case, by time and by entry."""

    def __init__(self, history: History, logged: LoggedRights) -> None:
        self._logged = logged
        self._periods = [_Period(0.0, _ends(history, logged.policies), Policy())]
        for number, (_, mark, policy) in enumerate(logged.policies):
            known = history.policies.get(mark)
            begins = known.sent if known else 0.0
            self._periods.append(_Period(begins, _ends(history, logged.policies[number + 1 :]), policy))
        self._has = lru_cache(maxsize=None)(self._compute)

    def between(self, began: float, ended: float) -> list[int]:
        """Return the numbers of all policies that may have been in force at a moment of an interval."""
        return [i for i, each in enumerate(self._periods) if each.begins <= ended and each.ends >= began]

    def before(self, seq: int) -> int:
        """Return the number of the policy on which entry `seq` was made."""
        return sum(entry < seq for entry, _, _ in self._logged.policies)

    def has(self, number: int, principal: str, token: str, right: Right, path: str) -> bool:
        """Tell whether a policy gives a principal a right at a path, and a token leaves it."""
        return principal == ROOT or bool(self._has(number, principal, token, right, path))

    def _compute(self, number: int, principal: str, token: str, right: Right, path: str) -> bool:
        limit = self._logged.issued.get(token)
        given = allowed(self._periods[number].policy, principal, right, path, None)
        return given and limit is not None and within(limit.role, limit.paths, right, path)

    def ever(self, asked: Asked, right: Right, paths: Iterable[str]) -> bool:
        """Tell whether whoever asked had a right at all of these paths by one policy of the request's interval."""
        numbers, paths = self.between(asked.began, asked.ended), list(paths)
        return any(all(self.has(n, asked.principal, asked.token, right, path) for path in paths) for n in numbers)

    def always(self, asked: Asked, right: Right, paths: Iterable[str]) -> bool:
        """Tell whether it had it by each of them, also by those of the second before it."""
        numbers, paths = self.between(asked.began - SETTLES, asked.ended), list(paths)
        return all(all(self.has(n, asked.principal, asked.token, right, path) for path in paths) for n in numbers)


def _ends(history: History, later: Sequence[tuple[int, str, Policy]]) -> float:
    """Return from when on a policy was in force no more, given those after it."""
    marks = [history.policies[mark] for _, mark, _ in later if mark in history.policies]
    return min((each.acknowledged for each in marks if each.acknowledged is not None), default=float("inf")) + SETTLES


def _rights(case: Case) -> _Rights:
    return _Rights(case.history, case.evidence.rights)


def _paths_of(case: Case, changeset: str) -> tuple[str, ...] | None:
    """Return the paths that a changeset changes, None where nobody knows it."""
    submission = case.history.submissions.get(case.key_of.get(changeset, ""))
    return None if submission is None else tuple(submission.edits)


def _asked_of(case: Case, asked: Asked) -> tuple[Right, list[str]] | None:
    """Return the right that a request needed, and where; None where it needed none, or that is not known."""
    if not asked.action:
        return None
    paths = list(asked.paths)
    right = _RIGHTS.get(asked.action, Right.MAINTAIN)
    for changeset in asked.changesets:
        submission = case.history.submissions.get(case.key_of.get(changeset, ""))
        if submission is None:
            return None
        paths += submission.edits
        if asked.action == "own" and f"agent:{submission.writer}" == asked.principal:
            right = Right.WRITE
    return right, paths


def _committed_by_right(case: Case) -> Iterator[str]:
    """Who submitted what is committed was a writer at all of its paths when it was decided."""
    rights = _rights(case)
    for decided in case.evidence.rights.decided:
        if decided.principal is None:
            if case.evidence.rights.policies:
                yield f"{decided.changeset} was decided by entry {decided.seq}, and nobody submitted it"
            continue
        paths = {*decided.paths, *(_paths_of(case, decided.changeset) or ())}
        number = rights.before(decided.seq)
        missing = [
            path
            for path in sorted(paths)
            if not rights.has(number, decided.principal, decided.token, Right.WRITE, path)
        ]
        if decided.status == "committed" and missing:
            yield (
                f"{decided.changeset} of {decided.principal} was committed by entry {decided.seq}, when it was no "
                f"writer at {missing}"
            )
        if decided.reason == "not-allowed" and paths and not missing:
            yield (
                f"{decided.changeset} of {decided.principal} was rejected by entry {decided.seq} as not-allowed, when "
                f"it was a writer at {sorted(paths)}"
            )


def _done_by_right(case: Case) -> Iterator[str]:
    """Whatever was answered with a 2xx needed a right that some policy of the request's interval gave."""
    rights = _rights(case)
    for asked in case.history.asked:
        wanted = _asked_of(case, asked) if 200 <= asked.status < 300 else None
        if wanted is not None and not rights.ever(asked, *wanted):
            yield (
                f"{asked.principal} ({asked.token}): {asked.request} was answered {asked.status}, and no policy gave "
                f"it {wanted[0].name} at {wanted[1]}; asked from {asked.began:.2f} to {asked.ended:.2f}, by policies "
                f"{rights.between(asked.began, asked.ended)}{_beside(case, asked)}"
            )


def _told_by_right(case: Case) -> Iterator[str]:
    """No answer tells a principal of a path, or of a changeset, that it could not read during the whole request."""
    rights = _rights(case)
    for asked in case.history.asked:
        for room in asked.told:
            if not rights.ever(asked, Right.READ, [ROOM_OF[room]]):
                yield (
                    f"{asked.principal} ({asked.token}): {asked.request} told of {room}, which it cannot read"
                    f"{_beside(case, asked)}"
                )
        for changeset in asked.told_ids:
            paths = _paths_of(case, changeset)
            if paths is not None and not rights.ever(asked, Right.READ, paths):
                yield (
                    f"{asked.principal} ({asked.token}): {asked.request} told of {changeset}, which changes "
                    f"{list(paths)}{_beside(case, asked)}"
                )


def _beside(case: Case, asked: Asked) -> str:
    """Return what else is known of an answer: what it said, of which submissions, and its principal's others then."""
    said = [f"; request {asked.known_as} was answered: {asked.said}"]
    for changeset in (*asked.changesets, *asked.told_ids):
        if of := case.history.submissions.get(case.key_of.get(changeset, "")):
            replaced = f", in place of {of.replaces}" if of.replaces else ""
            said.append(f"{changeset} is {of.key}{replaced}, and is {case.status(changeset) or 'unknown'} at the end")
    for other in case.history.asked:
        near = other.began <= asked.ended + SETTLES and other.ended >= asked.began - SETTLES
        if near and other is not asked and other.principal == asked.principal:
            said.append(f"{other.began:.2f} {other.request} ({other.token}, {other.known_as}): {other.status}")
    return "; ".join(said)


def _revoked_is_over(case: Case) -> Iterator[str]:
    """A second after the answer to its revocation, a token is let in nowhere."""
    for asked in case.history.asked:
        token = case.history.tokens.get(asked.token)
        if token is None or token.revoked is None or not 200 <= asked.status < 300:
            continue
        late = asked.began - token.revoked
        if late > SETTLES:
            yield f"{asked.request} was answered {asked.status} {late:.1f} s after the token {token.id} was revoked"


def _who_may_is_let_in(case: Case) -> Iterator[str]:
    """Who may write at all paths is not told that it may not; nor is a token refused that is valid."""
    rights = _rights(case)
    for asked in case.history.asked:
        token = case.history.tokens.get(asked.token)
        valid = token is not None and token.made + SETTLES < asked.began and not _may_be_over(case, asked, token)
        if asked.status == 401 and valid:
            yield f"{asked.request} was answered 401 by the token {asked.token}, which is valid"
        refused = asked.status == 403 and asked.action == "write" and asked.paths
        if refused and rights.always(asked, Right.WRITE, asked.paths):
            yield (
                f"{asked.principal} ({asked.token}): {asked.request} was answered 403, though it was a writer at "
                f"{list(asked.paths)}"
            )


def _may_be_over(case: Case, asked: Asked, token: IssuedToken) -> bool:
    """Tell whether a token may have been revoked when a request ended: it was, or its principal had a newer one."""
    if token.revoked is not None and token.revoked <= asked.ended:
        return True
    own = [each for each in case.history.tokens.values() if each.principal == asked.principal]
    return any(token.made < each.made <= asked.ended for each in own)


def _what_was_set_is_kept(case: Case) -> Iterator[str]:
    """Each token, revocation and policy that was acknowledged stands in the log."""
    logged = case.evidence.rights
    marks = {mark for _, mark, _ in logged.policies}
    for policy in case.history.policies.values():
        if policy.acknowledged is not None and policy.mark not in marks:
            yield f"the policy {policy.mark} was acknowledged, and the log has it no more"
    for token in case.history.tokens.values():
        if token.id not in logged.issued:
            yield f"the token {token.id} was issued, and the log has it no more"
        elif logged.issued[token.id].principal != token.principal:
            whose = logged.issued[token.id].principal
            yield f"the token {token.id} was given to {token.principal}, and the log has it as that of {whose}"
        if token.revoked is not None and token.id not in logged.revoked:
            yield f"the token {token.id} was revoked, and the log does not say so"


RIGHTS_RULES = (
    _committed_by_right,
    _done_by_right,
    _told_by_right,
    _revoked_is_over,
    _who_may_is_let_in,
    _what_was_set_is_kept,
)
