"""The life of a changeset besides committing: releasing what is held, abandoning, closing a conflict.

Each is an entry of the log before anyone is answered, on a snapshot that allows it. Repeated, it changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from storage.base.errors import Recovering, Refused
from storage.base.ids import ChangesetId
from storage.commit.append_loop import Moved, append_directly, of_one_view
from storage.commit.records import EXPIRED, closing
from storage.log import manifest
from storage.log.entry import EntryKind, Json, Status
from storage.queue.queue import Claimed, Standing
from storage.queue.submission_packs import UNREADABLE, read_changesets
from storage.repository import Repository
from storage.view.snapshot import Snapshot

log = structlog.get_logger()


class UnknownChangeset(Refused):
    """There is no changeset with this id."""


class NotPossible(Refused):
    """The changeset is not, or is no longer, where this could be done."""


def release(repo: Repository, changeset: ChangesetId) -> None:
    """Let a held changeset be committed. Repeated, or of one that was never held, it changes nothing.

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
    if not _queue(repo, changeset):
        _forget(repo, [changeset])


def abandon(repo: Repository, changeset: ChangesetId, only_held: bool = False) -> None:
    """Take back a changeset that is not committed, or close the conflict of one that is conflicted.

    With `only_held`, not one that may be committed by now: its release is a promise to whoever gave it. Raises
    UnknownChangeset, NotPossible where it is committed or rejected, Recovering, LogBusy, ViewAbsent and BucketError.
    """

    def change(snapshot: Snapshot) -> tuple[EntryKind, Json] | None:
        outcome = snapshot.outcomes.get(changeset)
        if outcome is None:
            standing = _standing(repo, changeset)
            body = _abandoned(repo, snapshot, changeset, standing)
            of_one_view(repo, snapshot)
            if only_held and not standing.held:
                raise NotPossible("it has been released meanwhile")
            return EntryKind.COMMITS, body
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
    _forget(repo, [changeset])


def requeue_released(repo: Repository, limit: int) -> int:
    """Queue released changesets that no queue has, because whoever released them died; return how many."""
    ids = repo.view.released(limit)
    count = 0
    for changeset, standing in zip(ids, repo.queue.standing(ids)[1] if ids else [], strict=True):
        if standing.outcome is None and standing.position is None and standing.pack is not None:
            try:
                count += _queue(repo, changeset)
            except UNREADABLE as error:
                # The others must not wait for what the store has lost.
                log.error("release_deferred", changeset=changeset, pack=standing.pack, reason=str(error))
    return count


def close_oldest(repo: Repository, limit: int) -> int:
    """Close the oldest open conflicts where there are more than `max_open_conflicts`; return how many.

    At most `limit` at once. Raises Unavailable.
    """
    over = repo.view.count_open_conflicts() - repo.settings.max_open_conflicts
    if over <= 0:
        return 0
    ids = [changeset for changeset, _ in repo.view.open_conflicts(-1, min(over, limit))]
    closed: list[Json] = []

    def change(snapshot: Snapshot) -> tuple[EntryKind, Json] | None:
        still = repo.view.still_open(ids)
        of_one_view(repo, snapshot)
        closed[:] = [closing(each, snapshot.outcomes[each]) | {"by": EXPIRED} for each in still]
        return (EntryKind.CLOSE, {"closed": closed}) if closed else None

    append_directly(repo, change, ids)
    return len(closed)


def release_decided(repo: Repository, page: int) -> int:
    """Take out of the held what is decided, because whoever decided it died, or Redis came back older; return how many.

    Held ones are in no queue that a batch could claim them from. Looks at all of them, so many at once.
    """
    count, after = 0, ""
    while ids := repo.queue.held(after, page):
        count += _forget(repo, [ChangesetId(each) for each in ids])
        after = ids[-1]
    return count


def _forget(repo: Repository, ids: Sequence[ChangesetId]) -> int:
    """Take those of these that have an outcome out of the queues, whoever did it before; return how many they are."""
    decided = [each for each, known in zip(ids, repo.queue.known(ids), strict=True) if known == "2"]
    standings = repo.queue.standing(decided)[1] if decided else []
    outcomes = [(each, now.outcome) for each, now in zip(decided, standings, strict=True) if now.outcome]
    claimed = [Claimed(outcome["slice"], each, outcome["pack"]) for each, outcome in outcomes]
    repo.queue.release("", claimed)
    return len(claimed)


def _standing(repo: Repository, changeset: ChangesetId) -> Standing:
    recovered, [standing] = repo.queue.standing([changeset])
    if standing.outcome is None and standing.slice is None:
        if not recovered:
            raise Recovering("the inbox is being listed")
        raise UnknownChangeset(changeset)
    return standing


def _abandoned(repo: Repository, snapshot: Snapshot, changeset: ChangesetId, standing: Standing) -> Json:
    if standing.pack is None:
        raise Moved
    [submission] = read_changesets(repo.archive, repo.queue, [(changeset, standing.pack)])
    record: Json = {"id": changeset, "slice": submission.slice, "pack": submission.pack, "status": Status.ABANDONED}
    if submission.hold:
        record["held"] = True
    if submission.key and not repo.view.snapshot(keys=[submission.key]).keys:
        # One that is another's stays that one's, also when the view has forgotten whose it was.
        record |= {"key": submission.key, "fingerprint": submission.fingerprint}
    if submission.resolves:
        record["resolves"] = submission.resolves
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
    [submission] = read_changesets(repo.archive, repo.queue, [(changeset, standing.pack)])
    repo.queue.enqueue([(submission, manifest.encode(submission))])
    return 1
