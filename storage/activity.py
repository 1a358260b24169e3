"""What is going on at one path: who waits to change it, what is committed on it and not landed, who holds its lock."""

from __future__ import annotations

from dataclasses import dataclass

from storage.entries import EntryKind, Status, decode
from storage.ids import ChangesetId
from storage.inbox import read_changesets
from storage.log import name_of
from storage.repository import Repository


@dataclass(frozen=True, slots=True)
class Activity:
    """Changesets on a path, oldest first; `complete` is False where a limit cut the lists short."""

    queued: list[ChangesetId]
    committed: list[ChangesetId]
    lock: tuple[str, float] | None  # who holds it, and for how many seconds at most
    complete: bool


def activity(repo: Repository, path: bytes, limit: int) -> Activity:
    """Return what is going on at a path.

    Costs the manifests of those that wait for it and the entries that are not merged, at most `limit` of each. Raises
    ViewAbsent, Recovering and BucketError.
    """
    queued, all_queued = _queued(repo, path, limit)
    committed, all_committed = _committed(repo, path, limit)
    return Activity(queued, committed, repo.queue.holder(path), all_queued and all_committed)


def _queued(repo: Repository, path: bytes, limit: int) -> tuple[list[ChangesetId], bool]:
    ids = repo.queue.wanting(path, "", limit + 1)
    standings = repo.queue.standing(ids)[1] if ids else []
    waiting = [
        (ChangesetId(each), now.pack)
        for each, now in zip(ids[:limit], standings, strict=False)
        if now.outcome is None and now.pack is not None
    ]
    # The set is by a hash of the path: what each says itself decides.
    said = read_changesets(repo.bucket, repo.queue, waiting)
    found = [changeset.id for changeset in said if any(change.path == path for change in changeset.changes)]
    return found, len(ids) <= limit


def _committed(repo: Repository, path: bytes, limit: int) -> tuple[list[ChangesetId], bool]:
    head = repo.view.head()
    batches = repo.view.by_score("batches", f"({head.through}", head.applied, limit + 1)
    entries = repo.bucket.get_many(name_of(seq) for _, seq in batches[:limit])
    found = []
    for data in entries:
        entry = decode(data) if data else {}
        if entry.get("kind") != EntryKind.COMMITS:
            continue
        for decided in entry["decided"]:
            if decided["status"] == Status.COMMITTED and any(row[0] == path.decode() for row in decided["changes"]):
                found.append(ChangesetId(decided["id"]))
    return found[:limit], len(batches) <= limit and len(found) <= limit
