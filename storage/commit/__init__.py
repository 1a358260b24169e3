"""A batch: deciding each path, linking commits, proving the root, appending the entry to the log.

Begin with batch.py, which runs the steps; decide.py and link.py are pure. Imports storage.repository and what it opens.
"""

from storage.commit.append_loop import (
    Draft,
    EntryBuilder,
    LogBusy,
    NoEntry,
    SnapshotStale,
    append_directly,
    check_snapshot_current,
)
from storage.commit.base_resolver import BaseResolver
from storage.commit.batch import BatchResult, commit_batch
from storage.commit.decide import (
    Conflict,
    Placed,
    Rejection,
    base_said,
    base_to_merge,
    seen_version,
    why_no_mode,
)
from storage.commit.global_merge import MergeResult, PreparedMerge, merge_batch
from storage.commit.link import Linker
from storage.commit.merged_blobs import MergedBlobs
from storage.commit.prefetch import snapshot_for, sources
from storage.commit.records import EXPIRED, actor_of, closing, recorded, without_commits

__all__ = [
    "EXPIRED", "BaseResolver", "BatchResult", "Conflict", "Draft", "EntryBuilder", "Linker", "LogBusy", "MergeResult",
    "MergedBlobs", "NoEntry", "Placed", "PreparedMerge", "Rejection", "SnapshotStale", "actor_of",
    "append_directly", "base_said", "base_to_merge", "check_snapshot_current", "closing", "commit_batch", "merge_batch",
    "recorded", "seen_version", "snapshot_for", "sources", "why_no_mode", "without_commits",
]  # fmt: skip
