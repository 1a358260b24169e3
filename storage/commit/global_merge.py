"""Batch merges: publish the next bounded run of the chain as one global commit."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from storage.backends.deadline import budget
from storage.base.ids import ObjectId, new_ulid
from storage.commit.append import append, entry_after
from storage.git.objects import Commit, Ident, Kind, object_id
from storage.log.entry import EntryKind, Json
from storage.log.store_pack import pack_of, store_pack
from storage.repository import Repository
from storage.view.snapshot import Snapshot

log = structlog.get_logger()

MAX_ATTEMPTS = 20
# Entries looked at for one merge; merge_changesets bounds it too.
_MAX_ENTRIES = 1000


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What a batch merge came to."""

    changesets: int = 0  # that it merged; 0 where none was pending
    line: str = ""  # the same for a person; empty where nothing was merged


def merge_batch(repo: Repository) -> MergeResult:
    """Make the next global commit.

    It is made for one parent: where another merge came in between it is thrown away, never rebased. Entries of other
    kinds in between only move its place in the log. Raises Unavailable.
    """
    owner = new_ulid()
    parent = None
    for _ in range(MAX_ATTEMPTS):
        # Under the append lock, since commits and merges want the same next place in the log.
        repo.append_lock.take(owner, timeout=repo.settings.lock_ttl)
        try:
            snapshot = repo.view.snapshot()
            if parent is not None and snapshot.head.main != parent:
                return MergeResult()
            parent = snapshot.head.main
            batches = _next_batches(repo, snapshot)
            if not batches:
                return MergeResult()
            if result := _append(repo, snapshot, batches):
                return result
        finally:
            # Whatever the merge has spent.
            with budget("redis_timeout", repo.settings.redis_timeout):
                repo.append_lock.release(owner)
    return MergeResult()


def _next_batches(repo: Repository, snapshot: Snapshot) -> list[Json]:
    """Return the oldest whole entries that are not merged, up to the limit but at least one."""
    chosen: list[Json] = []
    total = 0
    for batch in repo.view.unmerged_batches(snapshot.head, _MAX_ENTRIES):
        if chosen and total + batch["count"] > repo.settings.merge_changesets:
            break
        total += batch["count"]
        chosen.append(batch)
    return chosen


def _append(repo: Repository, snapshot: Snapshot, batches: list[Json]) -> MergeResult | None:
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
        return None
    repo.objects.share(objects)
    log.info("batch_merged", seq=entry["seq"], commit=commit.hex(), changesets=count, entries=len(batches))
    return MergeResult(count, f"merged {count}, entry {entry['seq']}")
