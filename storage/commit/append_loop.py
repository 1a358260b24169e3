"""Appending an entry: build it on a snapshot, create it in the log, and only then apply it to the view.

Writers do not lock each other out: a writer whose position in the log is taken builds its entry again on a new
snapshot. The append lock (storage/queue/append_lock.py) makes that rare.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from storage.base.errors import Unavailable, ViewStale
from storage.base.ids import ObjectId, PackId, Seq, new_ulid
from storage.base.stopwatch import Stopwatch
from storage.coordination import new_owner
from storage.git.packs import PackRange
from storage.log.entry import Entry, digest, encode, placed
from storage.repository import Repository
from storage.view.load import catch_up, locations
from storage.view.rows import NOTHING_FORGOTTEN, Forgotten
from storage.view.snapshot import Snapshot

log = structlog.get_logger()

MAX_ATTEMPTS = 50

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class LogBusy(Unavailable):
    """The log's next position was lost to other writers too often. Try again."""


class SnapshotStale(ViewStale):
    """The view is not the one of the snapshot any more, or Redis was restored from an older one since."""


@dataclass(frozen=True, slots=True)
class Draft(Generic[T_co]):
    """An entry for the position behind a snapshot, and what the loop returns once it is in the log."""

    entry: Entry
    result: T_co
    ranges: dict[PackId, dict[ObjectId, PackRange]] = field(default_factory=dict)  # of the objects in its packs
    forgotten: Forgotten = NOTHING_FORGOTTEN  # what a compaction takes out of the view


@dataclass(frozen=True, slots=True)
class NoEntry(Generic[T_co]):
    """Nothing is to be appended, and this is what the loop returns."""

    result: T_co


EntryBuilder = Callable[[Snapshot], Draft[T] | NoEntry[T]]
"""Builds the entry that follows a snapshot; raises SnapshotStale to be called again on a new one."""


def check_snapshot_current(repo: Repository, snapshot: Snapshot) -> None:
    """Raise SnapshotStale if the view changed epoch, restarted, or moved backwards since `snapshot` was taken.

    For builders that read beside the snapshot, after those reads: such a view may know less than the snapshot, which
    would go unnoticed. One with more entries does no harm, since the entry's position is taken then. Raises ViewAbsent.
    """
    now = repo.view.snapshot()
    same = (now.epoch, now.run) == (snapshot.epoch, snapshot.run)
    if not same or now.head.applied < snapshot.head.applied:
        raise SnapshotStale


def append_loop(
    repo: Repository,
    build_entry: EntryBuilder[T],
    changesets: Sequence[str] = (),
    slices: Sequence[str] = (),
    keys: Sequence[str] = (),
    watch: Stopwatch | None = None,
) -> T:
    """Append the entry that `build_entry` makes of a snapshot with these outcomes, slices and keys; return its result.

    Call it with the append lock held, if that can be had. `watch` gets the time of the stages `snapshot` and `append`.
    Raises what `build_entry` raises; LogBusy after MAX_ATTEMPTS; BucketError where it is not known whether the entry
    was appended; and ViewStale or ViewAbsent, also where it was appended, but the view changed: catching up will find
    it.
    """
    watch = watch or Stopwatch()
    for _ in range(MAX_ATTEMPTS):
        with watch.stage("snapshot"):
            snapshot = repo.snapshot(changesets, slices, keys)
        try:
            draft = build_entry(snapshot)
        except SnapshotStale:
            continue
        if isinstance(draft, NoEntry):
            return draft.result
        with watch.stage("append"):
            appended = append(repo, snapshot, draft)
        if appended:
            return draft.result
        log.info("append_conflict", seq=snapshot.head.applied + 1, kind=draft.entry.kind)
    raise LogBusy(f"the race for a position in the log was lost {MAX_ATTEMPTS} times")


def append_directly(
    repo: Repository, build_entry: EntryBuilder[T], changesets: Sequence[str] = (), slices: Sequence[str] = ()
) -> T:
    """Run `append_loop` under the append lock: for entries that are made in no time. Raises what that raises."""
    with repo.append_lock.held(new_owner()):
        return append_loop(repo, build_entry, changesets, slices)


def append(repo: Repository, snapshot: Snapshot, draft: Draft[T]) -> bool:
    """Append an entry and apply it, or catch up where its position is taken; tell which. Raises as `append_loop`."""
    head = snapshot.head
    # With its writer's name, so that no two writers' entries are the same bytes.
    entry = placed(draft.entry, Seq(head.applied + 1), head.hash, new_ulid())
    data = encode(entry)
    if not repo.log.append(entry.seq, data):
        catch_up(repo.view, repo.log, repo.bucket)
        return False
    repo.view.apply(snapshot.epoch, entry, digest(data), locations(entry, draft.ranges), forgotten=draft.forgotten)
    return True
