"""Poison: a changeset that kills its worker, or on which every batch fails, and which must not do so for ever.

Who is tried stands in Redis beside the claim (lua/claim.lua). Where a batch of several dies or fails, each of them is a
suspect from then on and is tried alone; the innocent are decided that way. Only deaths and failures while alone count,
and of several without anything going well in between only the first, since then it may be the servers. Waiting,
SIGTERM, and a Redis or a bucket that does not answer are not counted. Counts may vanish with Redis: then it takes
longer.

A batch that is not done within its time counts as one that fails, unless slow servers held it up.
"""

from __future__ import annotations

from storage.base.errors import Refused
from storage.commit.append_loop import append_directly, of_one_view
from storage.commit.decide import Rejection
from storage.commit.records import rejected
from storage.log.entry import EntryKind, Json
from storage.queue.queue import LEASE_EXPIRED, Claimed
from storage.repository import Repository
from storage.view.snapshot import Snapshot

REASON = "poison"

# Faults of what is not done in time: named after the settings that say how long that is.
TOO_LONG = "batch_budget"
MERGES_TOO_LONG = "merge_budget"
LATE = (TOO_LONG, MERGES_TOO_LONG)


class Overdue(Refused):
    """A batch was not done in its time, and the servers were not slow: it has in it what takes too long."""


def reject(repo: Repository, item: Claimed) -> None:
    """Decide a suspect that failed too often: `rejected`, with what is known of its failures.

    Its manifest is not read: that may be what kills. Raises Unavailable.
    """
    work = repo.queue.work(item.id)
    how = _how(repo, item.fault)
    times = f"{item.deaths} time{'s' if item.deaths != 1 else ''}"
    refusal = Rejection(REASON, f"tried alone {times} in vain, while others were committed; at the last try {how}")

    def say(snapshot: Snapshot) -> tuple[EntryKind, Json] | None:
        if item.id in snapshot.outcomes or snapshot.has_passed(item.id):
            return None
        known = _known(work)
        if "key" in known and repo.view.snapshot(keys=[known["key"]]).keys:
            # It stays another's, also when the view has forgotten whose it was.
            del known["key"], known["fingerprint"]
        of_one_view(repo, snapshot)
        head = snapshot.head
        record = {"id": item.id, "slice": item.slice, "pack": item.pack, **rejected(refusal)}
        # An entry of decisions without commits: the chain stays as it is.
        return EntryKind.COMMITS, {
            "packs": [], "decided": [record | known], "tip": head.tip, "root": head.root,
            "time": head.tip_time, "committed": head.committed,
        }  # fmt: skip

    append_directly(repo, say, [item.id])


def _how(repo: Repository, fault: str) -> str:
    if fault == LEASE_EXPIRED:
        return "its worker died"
    if fault == TOO_LONG:
        return f"it was not done within {repo.settings.batch_budget:g} seconds (batch_budget)"
    if fault == MERGES_TOO_LONG:
        return f"its contents were not merged within {repo.settings.merge_budget:g} seconds (merge_budget)"
    return f"the batch failed with {fault}"


def _known(work: dict[str, str]) -> Json:
    """Return what every record repeats of the request."""
    record: Json = {}
    if "hold" in work:
        record["held"] = True
    if "resolves" in work:
        record["resolves"] = work["resolves"]
    if "key" in work:
        record |= {"key": work["key"], "fingerprint": work["print"]}
    return record
