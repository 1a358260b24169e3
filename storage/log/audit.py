"""What each entry of the log says that was done, and by whom: the rows of the audit. Pure.

An entry tells the same acts at any time, in the same order. An act's id is its entry and its number in that.
Formats 1 to 3 name no actors but those of changesets, tokens and policies, and most of their entries no time: that is
then the time in the id of their writer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from storage.base.ids import ChangesetId, is_ulid, ulid_seconds
from storage.log.entry import (
    Access,
    Asked,
    Close,
    Commits,
    Compact,
    Condemn,
    Definition,
    Entry,
    Genesis,
    GlobalCommit,
    Import,
    Merge,
    Mirrors,
    Release,
    Slices,
    Tags,
    Webhooks,
)
from storage.log.manifest import Changeset
from storage.log.records import Actor, Decided, Record, Status

SUBMIT, LAND, RELEASE, CLOSE = "changeset.submit", "changeset.land", "changeset.release", "changeset.close"
OUTCOMES = {
    Status.COMMITTED: "changeset.commit",
    Status.CONFLICTED: "changeset.conflict",
    Status.REJECTED: "changeset.reject",
    Status.ABANDONED: "changeset.abandon",
}
ACTIONS = (
    "repository.create", "repository.import", SUBMIT, *OUTCOMES.values(), RELEASE, CLOSE, LAND, "slice.create",
    "slice.change", "slice.delete", "token.create", "token.revoke", "policy.replace", "webhook.create",
    "webhook.change", "webhook.delete", "tag.create", "tag.move", "tag.delete", "mirror.create",
    "mirror.stop", "mirror.resume", "mirror.delete", "merge.request", "pack.condemn",
    "history.compact",
)  # fmt: skip
"""Every action, of which acts say what was done."""


class Act(Record, frozen=True, kw_only=True):
    """One thing that was done. What it is about follows the first fields; what does not apply has its default."""

    action: str
    actor: Actor | None = None  # who had it done, or on whose behalf; None: a worker by itself, or nobody knows
    time: float | None = None  # seconds since 1970
    seq: int = 0  # of its entry; 0 for what no entry says yet
    index: int = 0  # its number among the acts of its entry
    changeset: ChangesetId | None = None
    slice: str | None = None  # its id
    name: str | None = None  # of a slice, a token, a tag or a mirror
    paths: tuple[str, ...] = ()
    version: int | None = None  # of a slice or the policy; of a webhook, its rotation
    submitter: str | None = None  # of a changeset: the principal
    commit: str | None = None
    reason: str | None = None
    resolves: ChangesetId | None = None
    closed_by: str | None = None
    changesets: int | None = None  # how many a global commit merged
    principal: str | None = None  # whose token, or webhook, it is
    subject_token: str | None = None  # the id of a token that is made or revoked
    token_hash: str | None = None  # its SHA-256, in hexadecimal
    role: str | None = None
    expires: int | None = None
    webhook: str | None = None  # its id; its URL may be a secret
    packs: int | None = None
    object: str | None = None  # what a tag names: a tag object, or a commit
    was: str | None = None  # what it named before


def moment_of(entry: Entry) -> float | None:
    """Return when an entry was made, in seconds since 1970; None where it does not say."""
    if isinstance(entry, Access | Asked | Slices | Release | Close | Webhooks | Tags | Import | Mirrors) and entry.time:
        return entry.time
    return ulid_seconds(entry.by) if is_ulid(entry.by) else None


def acts_of(entry: Entry) -> Iterator[Act]:
    """Yield what an entry says, in order, each with its place."""
    time = moment_of(entry)
    for index, act in enumerate(_acts(entry)):
        yield replace(act, seq=entry.seq, index=index, time=time if act.time is None else act.time)


def submission(changeset: Changeset) -> Act:
    """Return the act of submitting a changeset that has no outcome yet."""
    return Act(
        action=SUBMIT, actor=changeset.by, time=ulid_seconds(changeset.id), changeset=changeset.id,
        slice=changeset.slice, submitter=_principal(changeset.by), resolves=changeset.resolves,
    )  # fmt: skip


def _acts(entry: Entry) -> Iterator[Act]:
    match entry:
        case Genesis():
            yield Act(action="repository.create", commit=entry.commit)
        case Slices():
            yield from _of_slices(entry)
        case Commits():
            for record in entry.decided:
                yield from _of_changeset(record, entry.actor)
            if entry.published and (made := entry.global_commit):
                yield _landing(made)
        case Merge():
            yield _landing(entry.global_commit)
        case Access():
            yield from _of_access(entry)
        case _:
            yield from _of_others(entry)


def _of_others(entry: Entry) -> Iterator[Act]:
    match entry:
        case Release():
            for each in entry.released:
                yield Act(action=RELEASE, actor=entry.actor, changeset=each.id, slice=each.slice)
        case Close():
            for closed in entry.closed:
                yield Act(action=CLOSE, actor=entry.actor, changeset=closed.id, slice=closed.slice, closed_by=closed.by)
        case Webhooks():
            yield from _of_webhooks(entry)
        case Asked():
            yield Act(action=f"{entry.what}.request", actor=entry.actor)
        case Condemn():
            yield Act(action="pack.condemn", packs=len(entry.condemned))
        case Compact():
            yield Act(action="history.compact", packs=len(entry.archives))
        case _:
            yield from _of_git(entry)


def _of_git(entry: Entry) -> Iterator[Act]:
    match entry:
        case Tags():
            for tag in entry.changed:
                action = "tag.delete" if tag.id is None else "tag.create" if tag.was is None else "tag.move"
                yield Act(action=action, actor=entry.actor, name=tag.name, object=tag.id, was=tag.was)
        case Import():
            yield Act(action="repository.import", actor=entry.actor, commit=entry.commit, name=entry.ref)
        case Mirrors():
            yield from _of_mirrors(entry)


def _of_changeset(record: Decided, abandoned_by: Actor | None) -> Iterator[Act]:
    submitter = _principal(record.by)
    act = Act(
        action=SUBMIT, actor=record.by, changeset=record.id, slice=record.slice, submitter=submitter,
        resolves=record.resolves, time=ulid_seconds(record.id),
    )  # fmt: skip
    yield act
    # What a worker decides, it decides for who submitted it; who abandoned it may be somebody else.
    actor = abandoned_by if record.status == Status.ABANDONED else record.by
    yield replace(
        act, action=OUTCOMES[record.status], actor=actor, time=None, commit=record.commit, reason=record.reason
    )
    if closed := record.closes:
        yield Act(action=CLOSE, actor=record.by, changeset=closed.id, slice=closed.slice, closed_by=record.id)


def _landing(made: GlobalCommit) -> Act:
    return Act(action=LAND, commit=made.commit, changesets=made.changesets)


def _of_slices(entry: Slices) -> Iterator[Act]:
    defined = {each.id for each in entry.define}
    changed = {each.id for each in entry.undefine} & defined
    for each in entry.undefine:
        if each.id not in defined:
            yield _slice("slice.delete", each, entry.actor)
    for each in entry.define:
        yield _slice("slice.change" if each.id in changed else "slice.create", each, entry.actor)


def _slice(action: str, each: Definition, actor: Actor | None) -> Act:
    return Act(action=action, actor=actor, slice=each.id, name=each.name, paths=each.paths, version=each.version)


def _of_access(entry: Access) -> Iterator[Act]:
    for token in entry.issued:
        yield Act(
            action="token.create", actor=entry.actor, principal=token.principal, subject_token=token.id,
            token_hash=token.hash, name=token.name or None, role=token.role, paths=token.paths, expires=token.expires,
        )  # fmt: skip
    for gone in entry.revoked:
        yield Act(
            action="token.revoke", actor=entry.actor, principal=gone.principal, subject_token=gone.id,
            token_hash=gone.hash,
        )  # fmt: skip
    if entry.policy:
        yield Act(action="policy.replace", actor=entry.actor, version=entry.policy.version)


def _of_webhooks(entry: Webhooks) -> Iterator[Act]:
    for webhook in entry.created:
        yield Act(action="webhook.create", actor=entry.actor, webhook=webhook.id, principal=webhook.owner)
    for webhook in entry.changed:
        yield Act(
            action="webhook.change", actor=entry.actor, webhook=webhook.id, principal=webhook.owner,
            reason=webhook.disabled, version=webhook.rotation,
        )  # fmt: skip
    for deleted in entry.deleted:
        yield Act(action="webhook.delete", actor=entry.actor, webhook=deleted)


def _of_mirrors(entry: Mirrors) -> Iterator[Act]:
    for mirror in entry.created:
        yield Act(action="mirror.create", actor=entry.actor, name=mirror.name, slice=mirror.slice)
    for mirror in entry.changed:
        action = "mirror.stop" if mirror.stopped else "mirror.resume"
        yield Act(action=action, actor=entry.actor, name=mirror.name, reason=mirror.stopped)
    for deleted in entry.deleted:
        yield Act(action="mirror.delete", actor=entry.actor, name=deleted)


def _principal(by: Actor | None) -> str | None:
    return by.principal if by else None


def about(acts: Iterable[Act], changeset: str) -> list[Act]:
    """Return those acts that are about a changeset."""
    return [act for act in acts if act.changeset == changeset]
