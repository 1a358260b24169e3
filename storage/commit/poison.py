"""Poison: rejecting a changeset that kills its worker, or makes every batch fail, so that it does not do so for ever.

Redis has the changesets that are being tried, beside their claim (lua/claim.lua). If a batch of several dies or fails,
each becomes a suspect and is tried alone, so innocent ones are decided. Only deaths and failures while alone count; of
several without a success in between only the first counts, since the servers may be the cause. Waiting, SIGTERM, and a
Redis or a bucket that does not answer do not count. Counts may be lost with Redis: then it takes longer.

A batch that exceeds its time counts as failed, unless slow servers delayed it.
"""

import time

from storage.base.errors import Refused
from storage.base.ids import ChangesetId
from storage.commit.append_loop import Draft, NoEntry, append_directly, check_snapshot_current
from storage.commit.records import without_commits
from storage.log.records import Decided, Status
from storage.queue import LEASE_EXPIRED, Claimed
from storage.repository import Repository
from storage.view.snapshot import Snapshot

REASON = "poison"

# Faults of what is not done in time: named after the settings that say how long that is.
TOO_LONG = "batch_budget"
MERGES_TOO_LONG = "merge_budget"
LATE = (TOO_LONG, MERGES_TOO_LONG)


class Overdue(Refused):
    """A batch exceeded its time although the servers were not slow: one of its changesets takes too long."""


def reject(repo: Repository, item: Claimed) -> None:
    """Decide a suspect that failed too often: `rejected`, with what is known of its failures.

    Its manifest is not read: that may be what kills. Raises Unavailable.
    """
    work = repo.queue.work(item.id)
    how = _how(repo, item.fault)
    times = f"{item.deaths} time{'s' if item.deaths != 1 else ''}"
    detail = f"tried alone {times} in vain, while others were committed; at the last try {how}"

    def build_entry(snapshot: Snapshot) -> Draft[None] | NoEntry[None]:
        if item.id in snapshot.outcomes or snapshot.has_passed(item.id):
            return NoEntry(None)
        key = work.get("key")
        if key is not None and repo.view.snapshot(keys=[key]).keys:
            key = None  # it stays another's, also when the view has forgotten whose it was
        check_snapshot_current(repo, snapshot)
        record = Decided(
            id=item.id,
            slice=item.slice,
            pack=item.pack,
            status=Status.REJECTED,
            reason=REASON,
            detail=detail,
            at=int(time.time()),
            held="hold" in work,
            resolves=ChangesetId(work["resolves"]) if "resolves" in work else None,
            key=key,
            fingerprint=work["print"] if key is not None else None,
        )
        return Draft(without_commits(snapshot.head, record), None)

    append_directly(repo, build_entry, [item.id])


def _how(repo: Repository, fault: str) -> str:
    if fault == LEASE_EXPIRED:
        return "its worker died"
    if fault == TOO_LONG:
        return f"it was not done within {repo.settings.batch_budget:g} seconds (batch_budget)"
    if fault == MERGES_TOO_LONG:
        return f"its contents were not merged within {repo.settings.merge_budget:g} seconds (merge_budget)"
    return f"the batch failed with {fault}"
