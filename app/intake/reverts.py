"""The inverse of a committed changeset, as a changeset that is merged on the tip like any other.

What the writer of the inverse saw is the commit of the changeset, and what it submits are the versions before. So the
merge is that of `git revert`: the base is the version after, ours the tip's, theirs the version before.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from app.access.caller import Caller
from app.intake.packing import Item, blob
from app.intake.refusals import ContentsTooLarge, Contradiction
from app.intake.successors import fingerprint_of
from app.protocol.changesets.submissions import Change, CommitBase, Submission
from storage.access.policy import Right
from storage.base.ids import ChangesetId, ObjectId
from storage.git.fsck import ContentError, check_content, needs_content
from storage.git.objects import REGULAR_MODES, SUBMODULE_MODE, Ident, Version
from storage.git.paths import as_text
from storage.git.threeway import Strategy
from storage.git.trees import covers, diff
from storage.log.manifest import Op
from storage.repository import Repository
from storage.view.snapshot import Slice

_REVERT = 'Revert "'


class Undone(NamedTuple):
    """A committed changeset that is to be reverted."""

    changeset: ChangesetId
    commit: ObjectId
    subject: str  # the first line of its message


def revert(repo: Repository, where: Slice, undone: Undone, key: str | None, who: Caller) -> Item:
    """Return the changeset that takes back what another one has changed.

    Raises Contradiction, ContentsTooLarge, NotAllowed and Unavailable.
    """
    commit = repo.objects.commit(undone.commit)
    before = repo.objects.commit(commit.parents[0]).tree
    changed = list(diff(repo.objects.tree, before, commit.tree))
    paths = [path for path, _, _ in changed]
    if not changed:
        raise Contradiction("it changed nothing, so there is nothing to revert")
    who.require(Right.WRITE, paths, only_readable=True)
    for path in paths:
        if not covers(where.paths, path):
            raise Contradiction(f"{as_text(path)} is no longer in its slice")
    _check_size(repo, [old for _, old, _ in changed if old and old.mode != SUBMODULE_MODE])
    blobs: dict[ObjectId, tuple[bytes, int]] = {}
    changes = [_inverse(repo, path, old, new, blobs) for path, old, new in changed]
    submission = Submission(
        slice=where.id,
        base=CommitBase(undone.commit),
        message=message_of(undone),
        changes=tuple(changes),
        key=key,
    )
    return Item(
        submission=submission,
        slice=where.id,
        author=_author(repo, who),
        oids=tuple([ObjectId(change.oid) if change.oid else None for change in changes]),
        blobs=blobs,
        fingerprint=fingerprint_of("revert", undone.changeset) if key else "",
    )


def message_of(undone: Undone) -> str:
    """Return the message as `git revert` has it; the revert of a revert is called a reapply, as Git does since 2.43."""
    subject = undone.subject
    if subject.startswith(_REVERT) and subject.endswith('"') and not subject.startswith(_REVERT * 2):
        title = f'Reapply "{subject.removeprefix(_REVERT)}'
    else:
        title = f'{_REVERT}{subject}"'
    return f"{title}\n\nThis reverts changeset {undone.changeset}.\n"


def _inverse(
    repo: Repository,
    path: bytes,
    old: Version | None,
    new: Version | None,
    blobs: dict[ObjectId, tuple[bytes, int]],
) -> Change:
    """Return the change from the version after to the one before."""
    if old is None:
        return _change("delete", path, 0, None)
    if new is not None and new.oid == old.oid and {new.mode, old.mode} <= set(REGULAR_MODES):
        return _change("mode", path, old.mode, None)
    if old.mode != SUBMODULE_MODE and needs_content(path, old.mode):
        # As for anybody who puts it: what Git would refuse by now is not put again.
        content = repo.objects.blob(old.oid)
        try:
            check_content(path, old.mode, content)
        except ContentError as error:
            raise Contradiction(f"{as_text(path)} as it was before cannot stand there: {error}") from None
        _, blobs[old.oid] = blob(content)
    return _change("put", path, old.mode, old.oid)


def _change(op: Op, path: bytes, mode: int, oid: ObjectId | None) -> Change:
    return Change(op, path, mode, oid=oid, strategy=Strategy.MERGE)


def _check_size(repo: Repository, versions: Sequence[Version]) -> None:
    described = repo.kinds.of([version.oid for version in versions])
    most = repo.settings.max_body_bytes
    if sum(each.size for each in described.values()) > most:
        raise ContentsTooLarge(f"the contents of the new changeset exceed {most} bytes (max_body_bytes)")


def _author(repo: Repository, who: Caller) -> Ident:
    now = int(time.time())
    if who.person:
        return Ident(who.person.name, who.person.emails[0], now)
    return Ident(repo.settings.committer_name, repo.settings.committer_email, now)
