"""The life of a changeset besides committing: releasing what is held, abandoning, closing a conflict.

Each is an entry of the log before anyone is told, on a snapshot that says it may be. Said again, it changes nothing.
"""

from __future__ import annotations

from storage import manifest
from storage.direct import Moved, append_directly, of_one_view
from storage.entries import EntryKind, Json, Status
from storage.ids import ChangesetId
from storage.inbox import read_changesets
from storage.link import Snapshot
from storage.queue import Claimed, Standing
from storage.records import closing
from storage.repository import Repository
from storage.scripts import Recovering


class UnknownChangeset(Exception):
    """There is no changeset with this id."""


class NotPossible(Exception):
    """The changeset is not, or is no longer, where this could be done."""


def release(repo: Repository, changeset: ChangesetId) -> None:
    """Let a held changeset be committed. Said again, or of one that was never held, it changes nothing.

    Raises UnknownChangeset, NotPossible where it was abandoned, Recovering, LogBusy, ViewAbsent and BucketError.
    """

    def change(snapshot: Snapshot) -> tuple[EntryKind, Json] | None:
        outcome = snapshot.outcomes.get(changeset)
        if outcome and outcome["status"] == Status.ABANDONED:
            raise NotPossible("it has been abandoned")
        standing = _standing(repo, changeset)
        of_one_view(repo, snapshot)
        if outcome is not None or not standing.held:
            return None
        return EntryKind.RELEASE, {"released": [{"id": changeset, "slice": standing.slice}]}

    append_directly(repo, change, [changeset])
    _queue(repo, changeset)


def abandon(repo: Repository, changeset: ChangesetId) -> None:
    """Take back a changeset that is not committed, or close the conflict of one that is conflicted.

    Raises UnknownChangeset, NotPossible where it is committed or rejected, Recovering, LogBusy, ViewAbsent and
    BucketError.
    """
    before = _standing(repo, changeset)

    def change(snapshot: Snapshot) -> tuple[EntryKind, Json] | None:
        outcome = snapshot.outcomes.get(changeset)
        if outcome is None:
            return EntryKind.COMMITS, _abandoned(repo, snapshot, changeset)
        match outcome["status"]:
            case Status.ABANDONED:
                return None
            case Status.CONFLICTED:
                standing = _standing(repo, changeset)
                of_one_view(repo, snapshot)
                if standing.closed_by:
                    return None
                return EntryKind.CLOSE, {"closed": [closing(changeset, outcome) | {"by": Status.ABANDONED}]}
            case status:
                raise NotPossible(f"it is {status}")

    append_directly(repo, change, [changeset])
    if before.slice and before.pack:
        repo.queue.release("", [Claimed(before.slice, changeset, before.pack)])


def requeue_released(repo: Repository, limit: int) -> int:
    """Queue released changesets that no queue has, because whoever released them died; return how many."""
    ids = [member.decode() for member, _ in repo.view.by_score("released", limit=limit)]
    count = 0
    for changeset, standing in zip(ids, repo.queue.standing(ids)[1] if ids else [], strict=True):
        if standing.outcome is None and standing.position is None and standing.pack is not None:
            count += _queue(repo, ChangesetId(changeset))
    return count


def _standing(repo: Repository, changeset: ChangesetId) -> Standing:
    vouched, [standing] = repo.queue.standing([changeset])
    if standing.outcome is None and standing.slice is None:
        if not vouched:
            raise Recovering("the inbox is being listed")
        raise UnknownChangeset(changeset)
    return standing


def _abandoned(repo: Repository, snapshot: Snapshot, changeset: ChangesetId) -> Json:
    standing = _standing(repo, changeset)
    if standing.pack is None:
        raise Moved
    [said] = read_changesets(repo.bucket, repo.queue, [(changeset, standing.pack)])
    record: Json = {"id": changeset, "slice": said.slice, "pack": said.pack, "status": Status.ABANDONED}
    if said.hold:
        record["held"] = True
    if said.key:
        record |= {"key": said.key, "fingerprint": said.fingerprint}
    if said.resolves:
        record["resolves"] = said.resolves
    head = snapshot.head
    # An entry of decisions without commits: the chain stays as it is.
    return {
        "packs": [], "decided": [record], "tip": head.tip, "root": head.root,
        "time": head.tip_time, "committed": head.committed,
    }  # fmt: skip


def _queue(repo: Repository, changeset: ChangesetId) -> int:
    standing = _standing(repo, changeset)
    if standing.outcome is not None or standing.position is not None or standing.pack is None:
        return 0
    [said] = read_changesets(repo.bucket, repo.queue, [(changeset, standing.pack)])
    repo.queue.enqueue([(said, manifest.encode(said))])
    return 1
