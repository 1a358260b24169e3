"""Committing a batch: claim changesets, read ahead, link them, prove the root, append the entry."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import NamedTuple

import structlog
from redis.exceptions import RedisError

from storage.backends.deadline import Budget as Spending
from storage.backends.deadline import budget
from storage.backends.redis_client import UNAVAILABLE
from storage.base.errors import NeedsUpkeep, ViewStale
from storage.base.ids import ChangesetId, PackId, Seq, oid_of
from storage.base.logging_setup import in_lines
from storage.base.stopwatch import Stopwatch
from storage.commit import poison
from storage.commit.append_loop import Draft, NoEntry, SnapshotStale, append_loop, check_snapshot_current
from storage.commit.attempt import Attempt
from storage.commit.global_merge import PreparedMerge, prepare_merge
from storage.commit.link import Linked, Linker
from storage.commit.prefetch import depends_on, linker_on, prepare
from storage.commit.prove import RootMismatch, prove
from storage.coordination import new_owner
from storage.git.objects import CorruptObject, Kind
from storage.log.entry import Commits
from storage.log.records import Status
from storage.log.store_pack import pack_of, store_pack
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
    merge: PreparedMerge | None = None  # the global commit of this batch alone, where nothing else was there to merge


class _Appended(NamedTuple):
    """What was linked, and where its entry stands in the log: 0 where nothing was appended."""

    seq: int
    linked: Linked
    merge: PreparedMerge | None = None


def commit_batch(repo: Repository, recovered_only: bool = True) -> BatchResult:
    """Commit one bounded batch.

    Raises NeedsUpkeep and Paused where nothing can be claimed. UNAVAILABLE, Overdue and whatever else goes wrong end
    the batch, and what is not decided is given back: blamed for the latter two (storage/commit/poison.py).
    """
    owner, watch = new_owner(), Stopwatch()
    with budget("batch_budget", repo.settings.batch_budget, repo.settings.slow_call) as spending:
        with watch.stage("claim"):
            claimed = repo.queue.claim(owner, recovered_only)
        if not claimed:
            return BatchResult()
        blame: tuple[str, ...] = ()
        attempt = Attempt(repo.queue, owner, claimed)
        try:
            with repo.heartbeat.of(owner):
                taken = claimed[: repo.pace.changesets]
                attempt.tries([item.id for item in taken])
                result = _commit_claimed(repo, owner, taken, attempt, watch, spending)
            repo.pace.went_well(spending.used)
            if result.too_long is not None and not spending.was_held_up:
                blame = (poison.MERGES_TOO_LONG, result.too_long)
            return result
        except NeedsUpkeep:
            raise
        except UNAVAILABLE as error:
            if not spending.is_spent:
                raise
            if spending.was_held_up:
                repo.pace.fell_behind(len(attempt.tried))
                raise
            blame = (poison.TOO_LONG,)
            log.error("batch_overdue", changesets=len(attempt.tried), first=attempt.tried[0], **watch.fields())
            raise poison.Overdue(f"{len(attempt.tried)} changesets: {error}") from error
        except Exception as error:
            blame = (type(error).__name__,)
            tried = attempt.tried
            log.error("batch_failed", changesets=len(tried), first=tried[0], fault=blame[0], detail=str(error))
            raise
        finally:
            # Whatever the batch has spent, a stop as well: giving back has a moment of its own.
            with budget("redis_timeout", repo.settings.redis_timeout):
                attempt.release(*blame)


def _commit_claimed(
    repo: Repository, owner: str, claimed: Sequence[Claimed], attempt: Attempt, watch: Stopwatch, spending: Spending
) -> BatchResult:
    first = claimed[0]
    if first.deaths >= repo.settings.poison_tries:
        log.error("poison_rejected", changeset=first.id, deaths=first.deaths, fault=first.fault)
        poison.reject(repo, first)
        return BatchResult(1, f"rejected {first.id} as poison")
    with watch.stage("prepare"):
        changesets = read_changesets(repo.archive, repo.queue, [(item.id, item.pack) for item in claimed])
        changesets = prepare(repo, changesets, attempt)

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
        return _draft(repo, snapshot.head, linked, len(claimed), watch)

    with ExitStack() as stack:
        with watch.stage("wait"):
            # Who may die while it has the append lock goes without: the others would wait for it.
            if not first.deaths or first.fault in poison.LATE:
                stack.enter_context(repo.append_lock.held(owner))
        seq, linked, merge = append_loop(repo, build_entry, *depends_on(changesets), watch=watch)
        if not seq:
            log.info("nothing_decided", claimed=len(claimed), deferred=len(linked.deferred))
            line = f"decided none of {len(claimed)}, given back {len(linked.deferred)}"
            return BatchResult(len(changesets) - len(linked.deferred), line, linked.too_long)
        with watch.stage("share"):
            # What the next batches will read: the tip, and the trees below the root and below what stacks saw.
            seen = [oid_of(record.seen) for record in linked.decided if record.seen and record.base]
            repo.objects.keep([linked.tip, linked.root, *seen], linked.objects)
    return BatchResult(len(linked.decided), _log_decided(seq, linked, len(claimed), watch), linked.too_long, merge)


def _log_decided(seq: int, linked: Linked, claimed: int, watch: Stopwatch) -> str:
    """Log what an entry decided, with all ids, so that each one's request is found; return the counts in a line."""
    statuses = [decided.status for decided in linked.decided]
    first, *more = in_lines([decided.id for decided in linked.decided])
    counts = {str(status): statuses.count(status) for status in (Status.CONFLICTED, Status.REJECTED)}
    deferred = claimed - len(statuses)
    log.info(
        "batch_committed",
        seq=seq,
        changesets=len(statuses),
        committed=linked.committed,
        **counts,
        deferred=deferred,
        ids=first,
        **watch.fields(),
    )
    for ids in more:
        log.info("batch_committed_too", seq=seq, ids=ids)
    shown = {"committed": linked.committed, **counts, "given back": deferred}
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


def _draft(repo: Repository, head: Head, linked: Linked, claimed: int, watch: Stopwatch) -> Draft[_Appended]:
    """Store what was linked, and return the entry that names it."""
    packs: tuple[tuple[PackId, int], ...] = ()
    ranges = {}
    time = linked.time if linked.committed else head.tip_time
    merge = None
    if linked.committed and head.committed == head.merged and repo.queue.length() <= claimed:
        # Nobody waits whom a global commit could merge together with these, so theirs is stored with them.
        batch = Batch(
            count=linked.committed, seq=Seq(head.applied + 1), time=time, tip=linked.tip.hex(), tree=linked.root.hex()
        )
        merge = prepare_merge(repo, head, [batch])
    if linked.objects:
        with watch.stage("pack"):
            writer = pack_of(linked.objects | ({merge.id: (Kind.COMMIT, merge.data)} if merge else {}))
        with watch.stage("put"):
            pack, size = store_pack(repo.bucket, writer)
        packs, ranges = ((pack, size),), {pack: writer.ranges}
    entry = Commits(
        packs=packs, decided=tuple(linked.decided), tip=linked.tip.hex(), root=linked.root.hex(),
        time=time, committed=head.committed + linked.committed,
    )  # fmt: skip
    return Draft(entry, _Appended(head.applied + 1, linked, merge), ranges)
