"""Committing a batch: claim changesets, read ahead, link them, prove the root, append the entry."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from storage.backends.deadline import Budget as Spending
from storage.backends.deadline import budget
from storage.backends.redis_client import UNAVAILABLE
from storage.base.errors import NeedsUpkeep
from storage.base.ids import ChangesetId, new_ulid, oid_of
from storage.base.logging_setup import in_lines
from storage.base.stopwatch import Stopwatch
from storage.commit import poison
from storage.commit.append import append, entry_after
from storage.commit.append_loop import LogBusy, of_one_view
from storage.commit.attempt import Attempt
from storage.commit.link import Linked, Linker
from storage.commit.prefetch import linker_on, prepare, snapshot_for
from storage.commit.prove import RootMismatch, prove
from storage.git.objects import CorruptObject
from storage.log.entry import EntryKind
from storage.log.store_pack import pack_of, store_pack
from storage.queue.queue import Claimed
from storage.queue.submission_packs import read_changesets
from storage.repository import Repository
from storage.view.snapshot import Snapshot

log = structlog.get_logger()

# Times that a batch is linked anew because its place in the log was taken, before it gives back what it claimed.
MAX_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a batch came to."""

    changesets: int = 0  # that it decided, or found decided since they were claimed
    line: str = ""  # the same for a person; empty where nothing was claimed
    too_long: ChangesetId | None = None  # the one whose merges took too long, if one's did


def commit_batch(repo: Repository, recovered_only: bool = True) -> BatchResult:
    """Commit one bounded batch.

    Raises NeedsUpkeep and Paused where nothing can be claimed. UNAVAILABLE, Overdue and whatever else goes wrong end
    the batch, and what is not decided is given back: blamed for the latter two (storage/commit/poison.py).
    """
    owner, watch = new_ulid(), Stopwatch()
    with budget("batch_budget", repo.settings.batch_budget, repo.settings.slow_call) as spending:
        with watch.stage("claim"):
            claimed = repo.queue.claim(owner, recovered_only)
        if not claimed:
            return BatchResult()
        blame: tuple[str, ...] = ()
        attempt = Attempt(repo.queue, owner, claimed)
        try:
            with repo.heartbeat.of(owner, claimed):
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
                try:
                    repo.append_lock.release(owner)
                finally:
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
    with watch.stage("wait"):
        # Who may die while it has the append lock goes without: the others would wait for it.
        if not first.deaths or first.fault in poison.LATE:
            repo.append_lock.take(owner, timeout=repo.settings.lock_ttl)
    for _ in range(MAX_ATTEMPTS):
        with watch.stage("snapshot"):
            snapshot = snapshot_for(repo, changesets)
        attempt.tries([changeset.id for changeset in changesets])
        with watch.stage("link"):
            linker = linker_on(repo, snapshot, spending=spending)
            linked = linker.run(changesets)
        if not linked.decided:
            log.info("nothing_decided", claimed=len(claimed), deferred=len(linked.deferred))
            line = f"decided none of {len(claimed)}, given back {len(linked.deferred)}"
            return BatchResult(len(changesets) - len(linked.deferred), line, linked.too_long)
        if any(record.get("reason") == "unknown-base" for record in linked.decided):
            of_one_view(repo, snapshot)  # that it was not found has to be true of the snapshot
        linking = {record["id"] for record in linked.decided} | {linked.too_long}
        attempt.tries([changeset.id for changeset in changesets if changeset.id in linking])
        with watch.stage("prove"):
            _prove(repo, linker, snapshot, linked)
        if _append(repo, snapshot, linked, watch):
            line = _log_decided(snapshot.head.applied + 1, linked, len(claimed), watch)
            return BatchResult(len(linked.decided), line, linked.too_long)
        log.info("append_conflict", seq=snapshot.head.applied + 1)
    raise LogBusy(f"lost the race for a place in the log {MAX_ATTEMPTS} times")


def _log_decided(seq: int, linked: Linked, claimed: int, watch: Stopwatch) -> str:
    """Log what an entry decided, with the id of each changeset: so the request that brought it is found.

    Returns the counts in one line.
    """
    statuses = [decided["status"] for decided in linked.decided]
    first, *more = in_lines([decided["id"] for decided in linked.decided])
    counts = {status: statuses.count(status) for status in ("conflicted", "rejected")}
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


def _append(repo: Repository, snapshot: Snapshot, linked: Linked, watch: Stopwatch) -> bool:
    packs, places = [], {}
    if linked.objects:
        with watch.stage("pack"):
            writer = pack_of(linked.objects)
        with watch.stage("put"):
            pack, size = store_pack(repo.bucket, writer)
        packs, places = [[pack, size]], {pack: writer.places}
    entry = entry_after(
        snapshot.head,
        EntryKind.COMMITS,
        packs=packs,
        decided=linked.decided,
        tip=linked.tip.hex(),
        root=linked.root.hex(),
        time=linked.time if linked.committed else snapshot.head.tip_time,
        committed=snapshot.head.committed + linked.committed,
    )
    with watch.stage("append"):
        done = append(repo.view, repo.log, repo.bucket, snapshot, entry, places)
    if done:
        with watch.stage("share"):
            # What the next batches will read: the tip, and the trees below the root and below what stacks saw.
            seen = [oid_of(d["seen"]) for d in linked.decided if "seen" in d and d.get("base")]
            repo.objects.keep([linked.tip, linked.root, *seen], linked.objects)
    return done
