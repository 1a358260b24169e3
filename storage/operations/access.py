"""Issuing and revoking tokens, and replacing the policy, by entries of the log that say who did it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from storage.access.policy import Policy, has_admin
from storage.access.tokens import Token
from storage.base.errors import Refused, Unavailable
from storage.commit import Draft, NoEntry, append_directly, check_snapshot_current
from storage.log.entry import Access, RevokedToken
from storage.log.records import Actor
from storage.repository import Repository
from storage.view.access import read_policy, tokens_of
from storage.view.snapshot import Snapshot
from storage.view.view import View

AT_ONCE = 1000
"""Tokens that one entry revokes, at most, and that are looked at together."""


class OlderNodes(Unavailable):
    """A node of a version that does not know tokens and policies is at work."""


class MakerRevoked(Refused):
    """The token by which another one was to be made has been revoked meanwhile."""


class NoAdmin(Refused):
    """Nobody could change the policy any more."""


class PolicyChanged(Refused):
    """The policy has another version than its writer saw."""

    def __init__(self, current: Policy) -> None:
        super().__init__(f"the policy has version {current.version}")
        self.current = current


def issue(repo: Repository, token: Token, actor: Actor) -> None:
    """Make a token valid; returns once that is durable. Raises Unavailable, and MakerRevoked.

    The token of the actor has to be valid where the entry comes: else one that is made while its maker is revoked,
    with all that it made, would remain.
    """

    def build(_: Snapshot) -> Access | None:
        gone = actor.token and not tokens_of(repo.view, [actor.token])
        return None if gone else Access(actor=actor, time=int(time.time()), issued=(token,))

    if _append(repo, build):
        return
    with repo.queue.consistent_read():  # Redis may be an older copy
        if not _append(repo, build):
            raise MakerRevoked


def made_by(view: View, token_id: str) -> list[Token]:
    """Return the tokens that one made, which may be revoked, and those that these made, and so on."""
    made: list[Token] = []
    after = ""
    while ids := view.token_ids(after, AT_ONCE):
        made += [token for token in tokens_of(view, ids) if token_id in token.made_by]
        after = ids[-1]
    return made


def revoke(repo: Repository, ids: Sequence[str], actor: Actor) -> list[Token]:
    """End tokens, and return those that were valid; returns once that is durable. Raises Unavailable."""
    revoked: list[Token] = []

    def build(_: Snapshot) -> Access | None:
        revoked[:] = tokens_of(repo.view, ids)
        gone = tuple(RevokedToken(id=each.id, hash=each.hash, principal=each.principal) for each in revoked)
        return Access(actor=actor, time=int(time.time()), revoked=gone) if gone else None

    _append(repo, build)
    if not revoked:
        # Redis may be an older copy, which lacks a token that was issued since.
        with repo.queue.consistent_read():
            _append(repo, build)
    return revoked


def check_admin(policy: Policy) -> None:
    """Raise NoAdmin where nobody could change a policy any more."""
    if not has_admin(policy):
        raise NoAdmin("it names nobody with the role admin on /, without an end")


def replace_policy(repo: Repository, policy: Policy, version: int | None, actor: Actor) -> Policy:
    """Put a policy in the place of the one with `version` (None: whatever there is), and return it with its own.

    Returns once it is durable; repeated, it changes nothing. Raises NoAdmin, PolicyChanged and Unavailable.
    """
    check_admin(policy)
    made: list[Policy] = []

    def build(_: Snapshot) -> Access | None:
        current = read_policy(repo.view)
        made[:] = [replace(policy, version=current.version + 1)]
        if replace(policy, version=current.version) == current and version in (
            None,
            current.version - 1,
            current.version,
        ):
            made[:] = [current]
            return None
        if version not in (None, current.version):
            raise PolicyChanged(current)
        return Access(actor=actor, time=int(time.time()), policy=made[0])

    with repo.queue.consistent_read():
        _append(repo, build)
    return made[0]


def _append(repo: Repository, build: Callable[[Snapshot], Access | None]) -> bool:
    """Append what is built; tell whether that was anything. Raises OlderNodes and Unavailable."""

    def build_entry(snapshot: Snapshot) -> Draft[bool] | NoEntry[bool]:
        entry = build(snapshot)
        if entry and not repo.nodes.all_read(entry.least_format):
            raise OlderNodes("a worker of an older version is at work, which cannot read this: upgrade it first")
        check_snapshot_current(repo, snapshot)
        return Draft(entry, True) if entry else NoEntry(False)

    return append_directly(repo, build_entry)
