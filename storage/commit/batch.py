"""Committing a batch: claim changesets, read ahead, link them, prove the root, append the entry."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic, perf_counter
from typing import NamedTuple

import structlog
from msgspec import structs
from redis.exceptions import RedisError

from storage.backends.deadline import Budget as Spending
from storage.backends.deadline import budget
from storage.backends.redis_client import UNAVAILABLE
from storage.base.errors import NeedsUpkeep, ViewStale
from storage.base.ids import ChangesetId, PackId, Seq, oid_of
from storage.base.logging_setup import MAX_IDS, in_lines
from storage.base.stopwatch import Stopwatch
from storage.commit import poison
from storage.commit.append_loop import Draft, NoEntry, SnapshotStale, append_loop, check_snapshot_current
from storage.commit.attempt import Attempt
from storage.commit.global_merge import PreparedMerge, merge_beside, prepare_merge
from storage.commit.link import Linked, Linker
from storage.commit.prefetch import depends_on, linker_on, prepare
from storage.commit.prove import RootMismatch, prove
from storage.coordination import new_owner
from storage.git.objects import CorruptObject, Kind
from storage.log.entry import GIT_FORMAT, PUBLISHED_FORMAT, Commits, Published
from storage.log.records import Decided, Status
from storage.log.store_pack import pack_of, store_pack
from storage.metrics.counts import COUNTS
from storage.metrics.definitions import BATCH_CHANGESETS, BATCH_FAILURES, BATCH_SECONDS
from storage.queue import Claimed, read_changesets
from storage.repository import Repository
from storage.view.rows import Batch
from storage.view.snapshot import Head, Snapshot

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of a batch."""

    changesets: int = 0  # that it decided, or found decided since they were claimed
    line: str = ""  # the same for a person; empty where nothing was claimed
    too_long: ChangesetId | None = None  # the one whose merges took too long, if one's did
    merge: PreparedMerge | None = None  # the global commit that is to follow, where this task is to append it
    locked: bool = False  # whether the append lock is still held, for that
    seq: int = 0  # its entry
    decided: Sequence[Decided] = ()  # the records in that
    published: bool = False  # whether that brings its global commit
    applied: float | None = None  # when its entry was in the view, by the monotonic clock


class _Appended(NamedTuple):
    """What was linked, and where its entry stands in the log: 0 where nothing was appended."""

    seq: int
    linked: Linked
    merge: PreparedMerge | None = None  # its global commit
    follows: bool = False  # whether that is still to be appended


class _Turn:
    """The locks that a batch has: of linking, and of appending. Closing it releases them."""

    def __init__(self, repo: Repository, takes_long: Callable[[], object]) -> None:
        self.takes_long = takes_long  # to be called where others should not wait for the batch
        self._locks = {"link": repo.link_lock, "append": repo.append_lock}
        self._held: dict[str, ExitStack] = {}
        self._none = False

    def take(self, name: str) -> None:
        """Wait for the lock "link" or "append", unless the batch has it; or go on without."""
        if name not in self._held and not self._none:
            self._held[name] = ExitStack()
            # An owner each: all that an owner holds ends when it gives one lock back.
            self._held[name].enter_context(self._locks[name].held(new_owner()))

    def go_without(self) -> None:
        """Take no lock any more: this batch may kill its worker, and the others would wait for it."""
        self.close()
        self._none = True

    def let_others(self) -> None:
        """Release the locks, and say that it takes long: others may begin and link while contents are merged."""
        self.close()
        self.takes_long()

    def release_link_lock(self) -> None:
        """Release the link lock: others may link."""
        if "link" in self._held:
            self._held.pop("link").close()

    def leave_append_lock(self, to: ExitStack) -> bool:
        """Have `to` release the append lock; tell whether the batch has it."""
        if "append" not in self._held:
            return False
        to.push(self._held.pop("append"))
        return True

    def close(self) -> None:
        """Release the locks."""
        with ExitStack() as all_of_them:
            for stack in self._held.values():
                all_of_them.push(stack)
            self._held.clear()


def commit_batch(
    repo: Repository,
    recovered_only: bool = True,
    appending: ExitStack | None = None,
    takes_long: Callable[[], object] = lambda: None,
) -> BatchResult:
    """Commit one bounded batch; with `appending`, see to its global commit as well.

    Where nothing else waits for a global commit, the batch's entry brings it. Else the result has the merge that is to
    follow, and `appending` is given the append lock for it.

    Where the store is far, it claims when it may link: what comes in while others link is in the batch as well. As soon
    as its entry is in the log others may claim and link, while the caller appends the global commit.

    `takes_long` is called where the others should not wait for it: before contents are merged, and where it may end its
    worker.

    Raises NeedsUpkeep and Paused where nothing can be claimed. UNAVAILABLE, Overdue and whatever else goes wrong end
    the batch, and what is not decided is given back: blamed for the latter two (storage/commit/poison.py).
    """
    owner, watch = new_owner(), Stopwatch()
    with closing(_Turn(repo, takes_long)) as turn:
        if repo.pace.is_far:
            with watch.stage("wait"):
                turn.take("link")
        result = _commit(repo, owner, turn, watch, recovered_only, appending is not None)
        if result.merge and appending is not None:
            return replace(result, locked=turn.leave_append_lock(appending))
        return result


def _commit(
    repo: Repository, owner: str, turn: _Turn, watch: Stopwatch, recovered_only: bool, publish: bool
) -> BatchResult:
    with budget("batch_budget", repo.settings.batch_budget, repo.settings.slow_call) as spending:
        began = perf_counter()
        with watch.stage("claim"):
            claimed = repo.queue.claim(owner, recovered_only, repo.pace.changesets, repo.pace.most, repo.pace.share)
        if not claimed:
            return BatchResult()
        blame: tuple[str, ...] = ()
        attempt = Attempt(repo.queue, owner, claimed)
        try:
            with repo.heartbeat.of(owner):
                # Older nodes cannot read an entry that has both.
                publish = publish and repo.nodes.all_read(PUBLISHED_FORMAT)
                result = _commit_claimed(repo, claimed, attempt, turn, watch, spending, publish)
            repo.pace.went_well(spending.used)
            COUNTS.observe(BATCH_SECONDS, perf_counter() - began)
            COUNTS.observe(BATCH_CHANGESETS, result.changesets)
            if result.too_long is not None and not spending.was_held_up:
                blame = (poison.MERGES_TOO_LONG, result.too_long)
            return result
        except NeedsUpkeep:
            raise
        except UNAVAILABLE as error:
            COUNTS.add(BATCH_FAILURES, "late" if spending.is_spent else "unavailable")
            if not spending.is_spent:
                raise
            if spending.was_held_up:
                repo.pace.fell_behind(len(attempt.tried))
                raise
            blame = (poison.TOO_LONG,)
            log.error("batch_overdue", changesets=len(attempt.tried), first=attempt.tried[0], **watch.fields())
            raise poison.Overdue(f"{len(attempt.tried)} changesets: {error}") from error
        except Exception as error:
            COUNTS.add(BATCH_FAILURES, "fault")
            blame = (type(error).__name__,)
            tried = attempt.tried
            log.error("batch_failed", changesets=len(tried), first=tried[0], fault=blame[0], detail=str(error))
            raise
        finally:
            # Whatever the batch has spent, a stop as well: giving back has a moment of its own.
            with budget("redis_timeout", repo.settings.redis_timeout):
                attempt.release(*blame)


def _commit_claimed(
    repo: Repository,
    claimed: Sequence[Claimed],
    attempt: Attempt,
    turn: _Turn,
    watch: Stopwatch,
    spending: Spending,
    publish: bool,
) -> BatchResult:
    first = claimed[0]
    if first.deaths >= repo.settings.poison_tries:
        log.error("poison_rejected", changeset=first.id, deaths=first.deaths, fault=first.fault)
        poison.reject(repo, first)
        return BatchResult(1, f"rejected {first.id} as poison")
    if first.deaths:
        turn.takes_long()
    with watch.stage("prepare"):
        changesets = read_changesets(repo.archive, repo.queue, [(item.id, item.pack) for item in claimed])
        changesets = prepare(repo, changesets, attempt, turn.let_others)
        repo.pace.took(len(claimed), len(changesets))

    def build_entry(snapshot: Snapshot) -> Draft[_Appended] | NoEntry[_Appended]:
        attempt.tries([changeset.id for changeset in changesets])
        with watch.stage("link"):
            linker = linker_on(repo, snapshot, spending)
            linked = linker.run(changesets)
        if not linked.decided:
            return NoEntry(_Appended(0, linked))
        if any(record.reason == "unknown-base" for record in linked.decided):
            try:
                check_snapshot_current(repo, snapshot)  # that it was not found has to be true of the snapshot
            except SnapshotStale as error:
                raise ViewStale("the view has gone back") from error
        linking = {record.id for record in linked.decided} | {linked.too_long}
        attempt.tries([changeset.id for changeset in changesets if changeset.id in linking])
        with watch.stage("prove"):
            _prove(repo, linker, snapshot, linked)
        return _draft(repo, snapshot.head, linked, watch, publish)

    with watch.stage("wait"):
        if first.deaths and first.fault not in poison.LATE:
            turn.go_without()
        turn.take("link")
    lock = partial(turn.take, "append")
    appended = append_loop(repo, build_entry, *depends_on(changesets), watch=watch, lock=lock)
    applied = monotonic()
    seq, linked, merge = appended.seq, appended.linked, appended.merge
    if not seq:
        log.info("nothing_decided", claimed=len(claimed), deferred=len(linked.deferred))
        line = f"decided none of {len(claimed)}, given back {len(linked.deferred)}"
        return BatchResult(len(changesets) - len(linked.deferred), line, linked.too_long)
    with watch.stage("share"):
        # What the next batches will read: the tip, and the trees below the root and below what stacks saw.
        seen = [oid_of(record.seen) for record in linked.decided if record.seen and record.base]
        following = {merge.id: (Kind.COMMIT, merge.data)} if merge else {}
        repo.objects.keep([linked.tip, linked.root, *seen, *following], linked.objects | following, linked.parsed)
    if not repo.pace.is_far:
        turn.release_link_lock()  # others wait for it who have claimed already
        if not appended.follows:
            turn.close()
    line = _log_decided(appended, len(claimed), watch)
    return BatchResult(
        len(linked.decided), line, linked.too_long, merge if appended.follows else None,
        seq=seq, decided=linked.decided, published=merge is not None and not appended.follows, applied=applied,
    )  # fmt: skip


def _log_decided(appended: _Appended, claimed: int, watch: Stopwatch) -> str:
    """Log what an entry decided, with all ids, so that each one's request is found; return the counts in a line."""
    seq, linked = appended.seq, appended.linked
    statuses = [decided.status for decided in linked.decided]
    first, *more = in_lines([decided.id for decided in linked.decided])
    counts = {str(status): statuses.count(status) for status in (Status.CONFLICTED, Status.REJECTED)}
    deferred = claimed - len(statuses)
    requests = dict.fromkeys(decided.by.request for decided in linked.decided if decided.by and decided.by.request)
    log.info(
        "batch_committed",
        seq=seq,
        changesets=len(statuses),
        committed=linked.committed,
        **counts,
        deferred=deferred,
        ids=first,
        **({"requests": list(requests)[:MAX_IDS]} if requests else {}),
        **watch.fields(),
    )
    for ids in more:
        log.info("batch_committed_too", seq=seq, ids=ids)
    merged = linked.committed if appended.merge and not appended.follows else 0
    shown = {"committed": linked.committed, **counts, "given back": deferred, "merged": merged}
    return ", ".join([*(f"{name} {count}" for name, count in shown.items() if count), f"entry {seq}"])


def _prove(repo: Repository, linker: Linker, snapshot: Snapshot, linked: Linked) -> None:
    try:
        prove(linker.read, oid_of(snapshot.head.root), linked.root, linked.net)
    except (RootMismatch, CorruptObject) as error:
        # Nobody may overlook this: it is a bug of ours, and the counter must stay 0.
        log.critical("root_mismatch", seq=snapshot.head.applied + 1, detail=str(error))
        # A Redis that refuses the count (it may be full) must not hide the error itself.
        with suppress(RedisError):
            repo.view.count_root_mismatch()
        raise


def _batch_behind(head: Head, linked: Linked, time: int) -> Batch:
    """Return what the view will say of the commits that were linked, once their entry follows `head`."""
    return Batch(
        count=linked.committed, seq=Seq(head.applied + 1), time=time, tip=linked.tip.hex(), tree=linked.root.hex()
    )


def _released(repo: Repository, decided: Sequence[Decided]) -> tuple[Decided, ...]:
    """Return records of decisions; those of held changesets say which entry released them."""
    held = [record.id for record in decided if record.held]
    entries = repo.view.released_by(held) if held else {}
    return tuple([structs.replace(each, released=entries.get(each.id, 0)) if each.held else each for each in decided])


def _readable(repo: Repository, decided: tuple[Decided, ...]) -> tuple[Decided, ...]:
    """Return records that every node can read: without pushed commits, where an older node is at work again.

    Pushes are taken only while there is none; what was taken before must not wait for that node.
    """
    if not any(record.pushed for record in decided) or repo.nodes.all_read(GIT_FORMAT):
        return decided
    return tuple([structs.replace(record, pushed=None) if record.pushed else record for record in decided])


def _draft(repo: Repository, head: Head, linked: Linked, watch: Stopwatch, publish: bool) -> Draft[_Appended]:
    """Store what was linked, and return the entry that names it."""
    packs: tuple[tuple[PackId, int], ...] = ()
    ranges = {}
    time = linked.time if linked.committed else head.tip_time
    merge = None
    # Where something is pending, another global commit is still to come.
    if 0 < linked.committed <= repo.settings.merge_changesets and not head.pending:
        merge = prepare_merge(repo, head, [_batch_behind(head, linked, time)])
    if linked.objects:
        with watch.stage("pack"):
            writer = pack_of(linked.objects | ({merge.id: (Kind.COMMIT, merge.data)} if merge else {}))
        with watch.stage("put"):
            began = perf_counter()
            pack, size = store_pack(repo.bucket, writer)
            repo.pace.stored(perf_counter() - began, size)
        packs, ranges = ((pack, size),), {pack: writer.ranges}
    decided = _readable(repo, _released(repo, linked.decided))
    entry = partial(
        Commits, packs=packs, decided=decided, tip=linked.tip.hex(), root=linked.root.hex(),
        time=time, committed=head.committed + linked.committed, submitters=linked.committed > 0,
    )  # fmt: skip

    def moved(now: Head) -> Draft[_Appended]:
        batch = _batch_behind(now, linked, time)
        following, beside = merge, list[Callable[[], None]]()
        if merge and (merge.parent, merge.batches) != (now.main, [batch]):
            following = None
        if following is None and linked.committed:
            following, beside = merge_beside(repo, now, batch)
        elif following and publish:
            published = Published(
                commit=following.id.hex(), parent=now.main, time=following.time,
                changesets=linked.committed, merged=now.merged + linked.committed,
            )  # fmt: skip
            return Draft(entry(published=published), _Appended(now.applied + 1, linked, following), ranges, moved=moved)
        appended = _Appended(now.applied + 1, linked, following, follows=following is not None)
        return Draft(entry(), appended, ranges, moved=moved, beside=beside)

    return moved(head)
