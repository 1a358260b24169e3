"""Counting what an entry does, by whoever appended it: so each entry of the log is counted once."""

import time
from collections import Counter

from storage.base.ids import made_at
from storage.log.entry import Commits, Entry, Merge
from storage.log.records import Decided, Status
from storage.metrics.counts import COUNTS
from storage.metrics.definitions import DECIDED_SECONDS, ENTRIES, MERGES, OUTCOMES


def count_entry(entry: Entry) -> None:
    """Count an entry that this process has appended to the log."""
    COUNTS.add(ENTRIES, entry.kind)
    if isinstance(entry, Merge):
        COUNTS.add(MERGES, "own")
    if isinstance(entry, Commits):
        if entry.published:
            COUNTS.add(MERGES, "batch")
        for (outcome, reason), count in Counter(map(_outcome, entry.decided)).items():
            COUNTS.add(OUTCOMES, outcome, reason, count=count)
        now = time.time()
        linked = [each for each in entry.decided if each.status != Status.ABANDONED and not each.held]
        for pack, count in Counter(each.pack for each in linked).items():
            COUNTS.observe(DECIDED_SECONDS, max(0.0, now - made_at(pack)), times=count)


def _outcome(decided: Decided) -> tuple[str, str]:
    """Return what became of a changeset, and why: the class of its first conflict, or its rejection's reason."""
    if decided.conflicts:
        return decided.status, decided.conflicts[0].kind
    return decided.status, decided.reason or ""
