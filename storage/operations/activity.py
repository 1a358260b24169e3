"""Activity at one path: changesets that wait to change it, commits on it that have not landed, its lock's holder."""

from dataclasses import dataclass
from itertools import chain, groupby

from storage.base.batched import batched
from storage.base.ids import ChangesetId
from storage.git.paths import recorded_path
from storage.log.entry import decode
from storage.log.log import name_of
from storage.queue import read_changesets
from storage.repository import Repository
from storage.view.snapshot import Head

MOST = 50
"""Changesets that wait, and entries that are not merged, that one look reads at most: each may be a pack of its own."""

# Entries are read a few at once: one may have megabytes.
_ENTRIES_TOGETHER = 4


@dataclass(frozen=True, slots=True)
class Activity:
    """Changesets on a path, oldest first; `complete` is False where a limit cut the lists short."""

    queued: list[ChangesetId]
    committed: list[ChangesetId]
    lock: tuple[str, float] | None  # who holds it, and for how many seconds at most
    complete: bool
    tip: str  # the commit of the chain as of which it is


def activity(repo: Repository, path: bytes, limit: int = MOST) -> Activity:
    """Return the activity at a path.

    Reads the manifests of the changesets that wait for it (or whole packs, one at a time, if Redis has no copies), and
    the entries that are not merged, a few at a time; at most `limit` of each, the oldest. Raises Unavailable.
    """
    queued, all_queued = _queued(repo, path, limit)
    head = repo.view.head()
    committed, all_committed = _committed(repo, head, path, limit)
    return Activity(queued, committed, repo.queue.holder(path), all_queued and all_committed, head.tip)


def _queued(repo: Repository, path: bytes, limit: int) -> tuple[list[ChangesetId], bool]:
    ids = repo.queue.wanting(path, "", limit + 1)
    states = repo.queue.states(ids)[1] if ids else []
    waiting = [(ChangesetId(i), now.pack) for i, now in zip(ids[:limit], states, strict=False) if now.pack is not None]
    # Ids and packs are in the order of time: those of a pack stand together, but for what a clock did.
    packs = groupby(waiting, key=lambda located: located[1])
    submissions = chain.from_iterable(read_changesets(repo.archive, repo.queue, list(some)) for _, some in packs)
    # The set is by a hash of the path: what each says itself decides.
    changing = [changeset.id for changeset in submissions if any(change.path == path for change in changeset.changes)]
    return changing, len(ids) <= limit


def _committed(repo: Repository, head: Head, path: bytes, limit: int) -> tuple[list[ChangesetId], bool]:
    batches = repo.view.unmerged_batches(head, limit + 1)
    names = [name_of(batch.seq) for batch in batches[:limit]]
    ids = []
    for data in chain.from_iterable(map(repo.bucket.get_many, batched(names, _ENTRIES_TOGETHER))):
        for decided in decode(data).decided if data else ():
            if decided.touches(recorded_path(path)):
                ids.append(decided.id)
    return ids[:limit], len(batches) <= limit and len(ids) <= limit
