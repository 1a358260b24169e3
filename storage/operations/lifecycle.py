"""Operations on a changeset: releasing a held one, abandoning, closing a conflict.

Each appends an entry on a snapshot that allows it, before the request is answered. Repeating one changes nothing.
"""

import time

import structlog

from storage.base.errors import Recovering, Refused
from storage.base.ids import ChangesetId
from storage.commit import (
    EXPIRED,
    Draft,
    NoEntry,
    SnapshotStale,
    actor_of,
    append_directly,
    check_snapshot_current,
    closing,
    without_commits,
)
from storage.log import manifest
from storage.log.entry import Close, Release, Released
from storage.log.facts import covers_of, facts_of
from storage.log.records import Actor, Closing, Decided, Status
from storage.operations.requests import NOBODY, Recorded, recorded_as
from storage.queue import UNREADABLE, ChangesetState, Stage, read_changesets
from storage.repository import Repository
from storage.view.snapshot import Snapshot

log = structlog.get_logger()


class UnknownChangeset(Refused):
    """There is no changeset with this id."""


class NotPossible(Refused):
    """The state of the changeset does not allow this, or no longer allows it."""


def release(repo: Repository, changeset: ChangesetId, actor: Actor | None = None) -> None:
    """Let a held changeset be committed, for an `actor`. Repeated, or of one never held, it changes nothing.

    Raises UnknownChangeset, NotPossible where it was abandoned, Recovering, LogBusy, ViewAbsent and BucketError.
    """
    by = recorded_as(repo, actor)

    def build_entry(snapshot: Snapshot) -> Draft[object] | NoEntry[object]:
        outcome = snapshot.outcomes.get(changeset)
        if outcome and outcome.status == Status.ABANDONED:
            raise NotPossible("it has been abandoned")
        state = _state_of(repo, changeset)
        covers: tuple[str, ...] = ()
        if state.held and state.pack is not None:
            covers = covers_of(read_changesets(repo.archive, repo.queue, [(changeset, state.pack)])[0])
        check_snapshot_current(repo, snapshot)
        if outcome is not None or not state.held or state.slice is None:
            return NoEntry(None)
        released = Released(id=changeset, slice=state.slice, covers=covers)
        return Draft(Release(released=(released,), actor=by.actor, time=by.time), None)

    append_directly(repo, build_entry, [changeset])
    if not _queue(repo, changeset):
        repo.queue.drop_decided([changeset])


def abandon(repo: Repository, changeset: ChangesetId, actor: Actor | None = None, *, only_held: bool = False) -> None:
    """Take back a changeset that is not committed, or close the conflict of one that is conflicted, for an `actor`.

    With `only_held`, not one that may be committed by now: its release is a promise to whoever gave it. Raises
    UnknownChangeset, NotPossible where it is committed or rejected, Recovering, LogBusy, ViewAbsent and BucketError.
    """
    by = recorded_as(repo, actor)

    def build_entry(snapshot: Snapshot) -> Draft[object] | NoEntry[object]:
        outcome = snapshot.outcomes.get(changeset)
        if outcome is None:
            state = _state_of(repo, changeset)
            entry = without_commits(snapshot.head, _abandoned(repo, changeset, state), actor=by.actor)
            check_snapshot_current(repo, snapshot)
            if only_held and not state.held:
                raise NotPossible("it has been released meanwhile")
            return Draft(entry, None)
        match outcome.status:
            case Status.ABANDONED:
                return NoEntry(None)
            case Status.CONFLICTED:
                state = _state_of(repo, changeset)
                check_snapshot_current(repo, snapshot)
                if state.closed_by:
                    return NoEntry(None)
                return _close([closing(changeset, outcome, Status.ABANDONED)], by)
            case status:
                raise NotPossible(f"it is {status}")

    append_directly(repo, build_entry, [changeset])
    repo.queue.drop_decided([changeset])


def requeue_released(repo: Repository, limit: int) -> int:
    """Queue released changesets that no queue has, because whoever released them died; return how many."""
    ids = repo.view.released(limit)
    count = 0
    for changeset, state in zip(ids, repo.queue.states(ids)[1] if ids else [], strict=True):
        if state.position is None and state.pack is not None:
            try:
                count += _queue(repo, changeset)
            except UNREADABLE as error:
                # The others must not wait for what the store has lost.
                log.error("release_deferred", changeset=changeset, pack=state.pack, reason=str(error))
    return count


def close_oldest(repo: Repository, limit: int) -> int:
    """Close at most `limit` of the oldest conflicts above `max_open_conflicts`; return how many. Raises Unavailable."""
    over = repo.view.count_open_conflicts() - repo.settings.max_open_conflicts
    if over <= 0:
        return 0
    ids = [changeset for changeset, _ in repo.view.open_conflicts(-1, min(over, limit))]

    def build_entry(snapshot: Snapshot) -> Draft[int] | NoEntry[int]:
        still = repo.view.still_open(ids)
        check_snapshot_current(repo, snapshot)
        return _close([closing(changeset, snapshot.outcomes[changeset], EXPIRED) for changeset in still])

    return append_directly(repo, build_entry, ids)


def _close(closed: list[Closing], by: Recorded = NOBODY) -> Draft[int] | NoEntry[int]:
    if not closed:
        return NoEntry(0)
    return Draft(Close(closed=tuple(closed), actor=by.actor, time=by.time), len(closed))


def release_decided(repo: Repository, page: int) -> int:
    """Take out of the held what is decided, because whoever decided it died, or Redis came back older; return how many.

    Held ones are in no queue that a batch could claim them from. Looks at all of them, so many at once.
    """
    count, after = 0, ""
    while ids := repo.queue.held(after, page):
        count += repo.queue.drop_decided([ChangesetId(id_) for id_ in ids])
        after = ids[-1]
    return count


def _state_of(repo: Repository, changeset: ChangesetId) -> ChangesetState:
    recovered, [state] = repo.queue.states([changeset])
    if state.stage is Stage.UNKNOWN:
        if not recovered:
            raise Recovering("the inbox is being listed")
        raise UnknownChangeset(changeset)
    return state


def _abandoned(repo: Repository, changeset: ChangesetId, state: ChangesetState) -> Decided:
    if state.pack is None:
        raise SnapshotStale
    [submission] = read_changesets(repo.archive, repo.queue, [(changeset, state.pack)])
    # A key that is another's stays that one's, also when the view has forgotten whose it was.
    key = submission.key if submission.key and not repo.view.snapshot(keys=[submission.key]).keys else None
    covers = covers_of(submission)
    return Decided(
        id=changeset,
        slice=submission.slice,
        pack=submission.pack,
        status=Status.ABANDONED,
        held=submission.hold,
        released=repo.view.released_by([changeset]).get(changeset, 0) if submission.hold else 0,
        key=key,
        fingerprint=submission.fingerprint if key else None,
        resolves=submission.resolves or None,
        by=actor_of(submission),
        covers=covers,
        facts=facts_of(submission, covers),
        at=int(time.time()),
        priority=submission.priority,
    )


def _queue(repo: Repository, changeset: ChangesetId) -> int:
    state = _state_of(repo, changeset)
    if state.position is not None or state.pack is None:
        return 0
    [submission] = read_changesets(repo.archive, repo.queue, [(changeset, state.pack)])
    repo.queue.enqueue([(submission, manifest.encode(submission))])
    return 1
