"""Batch merges: publish the next bounded run of the chain as one global commit."""

from __future__ import annotations

import structlog
from redis.exceptions import RedisError

from storage.backends.bucket import BucketError
from storage.backends.deadline import budget
from storage.base.errors import ViewAbsent, ViewStale
from storage.base.ids import ObjectId, new_ulid
from storage.commit.append import append, entry_after
from storage.git.objects import Commit, Ident, Kind, object_id
from storage.log.entry import EntryKind, Json
from storage.log.store_pack import pack_of, store_pack
from storage.repository import Repository
from storage.view.snapshot import Snapshot
from tasks.base import SluiceTask, repository
from tasks.celery import app
from tasks.notify import ask, ask_for_commit
from tasks.report import did

log = structlog.get_logger()

MOST_RACES = 20
# Entries looked at for one merge; merge_changesets bounds it too.
_MOST_ENTRIES = 1000


@app.task(name="sluice.merge", base=SluiceTask, ignore_result=True, acks_late=True)
def merge(token: str = "", reason: str = "") -> None:
    """Make one batch merge; where more is pending, send the next message. `reason` is for who reads it."""
    repo = repository()
    try:
        with budget("batch_budget", repo.settings.batch_budget):
            merge_batch(repo)
    except (ViewAbsent, ViewStale) as error:
        log.info("merge_waits", reason=type(error).__name__)
        did(f"waits: {type(error).__name__}")
    except (BucketError, RedisError) as error:
        log.warning("merge_waits", reason=type(error).__name__, detail=str(error))
        did(f"waits: {type(error).__name__}")
    finally:
        _ask_for_more(repo, token)


def _ask_for_more(repo: Repository, token: str) -> None:
    try:
        ask(repo, "merge", 1, done=token)
        # The shortest tick that there is: commits that could not reach the bucket are tried again at each.
        ask_for_commit(repo)
    except RedisError as error:
        log.warning("not_announced", reason=str(error))


def merge_batch(repo: Repository) -> int:
    """Make the next global commit and return how many changesets it merged, 0 where none is pending.

    It is made for one parent: where another merge came in between it is thrown away, never rebased. Entries of other
    kinds in between only move its place in the log. Raises ViewAbsent, ViewStale and BucketError.
    """
    owner = new_ulid()
    parent = None
    for _ in range(MOST_RACES):
        # Under the ticket, since commits and merges want the same next place in the log.
        repo.append_lock.take(owner, patience=repo.settings.lock_ttl)
        try:
            snapshot = repo.view.snapshot()
            if parent is not None and snapshot.head.main != parent:
                return 0
            parent = snapshot.head.main
            batches = _next_batches(repo, snapshot)
            if not batches:
                return 0
            if _append(repo, snapshot, batches):
                return sum(batch["count"] for batch in batches)
        finally:
            # Whatever the merge has spent.
            with budget("redis_timeout", repo.settings.redis_timeout):
                repo.append_lock.release(owner)
    return 0


def _next_batches(repo: Repository, snapshot: Snapshot) -> list[Json]:
    """Return the oldest whole entries that are not merged, up to the limit but at least one."""
    chosen: list[Json] = []
    total = 0
    for batch in repo.view.unmerged_batches(snapshot.head, _MOST_ENTRIES):
        if chosen and total + batch["count"] > repo.settings.merge_changesets:
            break
        total += batch["count"]
        chosen.append(batch)
    return chosen


def _append(repo: Repository, snapshot: Snapshot, batches: list[Json]) -> bool:
    head, last = snapshot.head, batches[-1]
    count = sum(batch["count"] for batch in batches)
    now = repo.committer()
    who = Ident(now.name, now.email, max(now.time, head.main_time, last["time"]))
    message = (
        f"Merge {count} changeset{'s' if count != 1 else ''}\n\n"
        f"Merged-Entries: {batches[0]['seq']}-{last['seq']}\nMerged-Changesets: {count}\n"
    )
    parents = (ObjectId(bytes.fromhex(head.main)), ObjectId(bytes.fromhex(last["tip"])))
    data = Commit(ObjectId(bytes.fromhex(last["tree"])), parents, who, who, message).encode()
    commit = object_id(Kind.COMMIT, data)
    objects = {commit: (Kind.COMMIT, data)}
    writer = pack_of(objects)
    pack, size = store_pack(repo.bucket, writer)
    entry = entry_after(
        head,
        EntryKind.MERGE,
        packs=[[pack, size]],
        commit=commit.hex(),
        tree=last["tree"],
        time=who.time,
        parents=[parent.hex() for parent in parents],
        first=batches[0]["seq"],
        through=last["seq"],
        changesets=count,
        merged=head.merged + count,
    )
    if not append(repo.view, repo.log, repo.bucket, snapshot, entry, {pack: writer.places}):
        return False
    repo.objects.share(objects)
    log.info("batch_merged", seq=entry["seq"], commit=commit.hex(), changesets=count, entries=len(batches))
    did(f"merged {count}, entry {entry['seq']}")
    return True
