"""Appending an entry: build it on a snapshot, create it in the log, and only then apply it to the view.

Writers do not lock each other out: a writer whose position in the log is taken builds its entry again on a new
snapshot. The append lock (storage/queue/append_lock.py) makes that rare.

What a batch decides does not depend on global commits. So its entry may be built, and its pack stored, while one is
being appended: the entry then only moves behind it (`Draft.moved`). Behind any other entry it is built again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from storage.base.errors import Unavailable, ViewStale
from storage.base.ids import ObjectId, PackId, Seq, new_ulid
from storage.base.stopwatch import Stopwatch
from storage.coordination import new_owner
from storage.git.packs import PackRange
from storage.log.counted import count_entry
from storage.log.entry import Entry, digest, encode, placed
from storage.repository import Repository
from storage.view.load import catch_up, locations
from storage.view.rows import NOTHING_FORGOTTEN, Forgotten
from storage.view.snapshot import Head, Snapshot

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
    moved: Callable[[Head], Draft[T_co]] | None = None
    """Returns the draft for the head that it is appended behind: that of its snapshot, or one with only global commits
    in between. None: it is for its snapshot's alone."""
    beside: Sequence[Callable[[], object]] = ()  # stores what the entry does not need, at the same time; never raises


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
    lock: Callable[[], object] = lambda: None,
) -> T:
    """Append the entry that `build_entry` makes of a snapshot with these outcomes, slices and keys; return its result.

    `lock` takes the append lock, if that can be had, before the append; or call this with the lock held. It is called
    again where the entry has to be built again. `watch` gets the time of the stages `snapshot`, `turn` and `append`.
    Raises what `build_entry` raises; LogBusy after MAX_ATTEMPTS; BucketError where it is not known whether the entry
    was appended; and ViewStale or ViewAbsent, also where it was appended, but the view changed: catching up will find
    it.
    """
    watch = watch or Stopwatch()
    built: tuple[Snapshot, Draft[T]] | None = None
    for _ in range(MAX_ATTEMPTS):
        if built is None:
            with watch.stage("snapshot"):
                snapshot = repo.snapshot(changesets, slices, keys)
            try:
                draft = build_entry(snapshot)
            except SnapshotStale:
                continue
            if isinstance(draft, NoEntry):
                return draft.result
            with watch.stage("turn"):
                lock()
            built = snapshot, draft
        with watch.stage("turn"):
            built = _moved(repo, *built)
        if built is None:
            log.info("entry_built_again", behind=snapshot.head.applied)
            continue
        snapshot, draft = built
        with watch.stage("append"):
            appended = append(repo, snapshot, draft)
        if appended:
            return draft.result
        log.info("append_conflict", seq=snapshot.head.applied + 1, kind=draft.entry.kind)
        if draft.moved is None:
            built = None
    raise LogBusy(f"the race for a position in the log was lost {MAX_ATTEMPTS} times")


def _moved(repo: Repository, snapshot: Snapshot, draft: Draft[T]) -> tuple[Snapshot, Draft[T]] | None:
    """Return a draft for the present head, with a snapshot that has that; None where it has to be built again."""
    if draft.moved is None:
        return snapshot, draft
    now = repo.view.snapshot()
    if (now.epoch, now.run) != (snapshot.epoch, snapshot.run) or now.head.applied < snapshot.head.applied:
        return None
    if now.head.applied == snapshot.head.applied:
        return snapshot, draft
    if not repo.view.only_merged(now.epoch, snapshot.head.applied, now.head.applied):
        return None
    return now, draft.moved(now.head)


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

    def create() -> bool:
        began = time.monotonic()
        created = repo.log.append(entry.seq, data)
        repo.pace.stored(time.monotonic() - began, len(data))
        return created

    calls: list[Callable[[], object]] = [create, *draft.beside]
    if not repo.bucket.map_concurrently(lambda call: call(), calls)[0]:
        catch_up(repo.view, repo.log, repo.bucket)
        return False
    count_entry(entry)
    repo.view.apply(snapshot.epoch, entry, digest(data), locations(entry, draft.ranges), forgotten=draft.forgotten)
    return True
