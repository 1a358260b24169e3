"""Waiting work: queues of changesets in Redis, their claims, and their recovery from the bucket.

Begin with reader.py, which asks the queues, and queue.py, which changes them; recovery.py queues again what Redis lost.
Imports the packages of storage up to lookup.
"""

from storage.queue.append_lock import AppendLock
from storage.queue.deliveries import Deliveries, Delivery, Progress, Wanted
from storage.queue.mirror_work import MirrorProgress, MirrorWork
from storage.queue.pace import Pace
from storage.queue.queue import LEASE_EXPIRED, Queue
from storage.queue.recovery import MAX_PASSED_PACKS, Inbox, InboxScan, Watermark
from storage.queue.states import Admission, ChangesetState, Claimed, Stage
from storage.queue.submission_packs import UNREADABLE, read_changesets, read_pack

__all__ = [
    "LEASE_EXPIRED", "MAX_PASSED_PACKS", "UNREADABLE", "Admission", "AppendLock", "ChangesetState", "Claimed",
    "Deliveries", "Delivery", "Inbox", "InboxScan", "MirrorProgress", "MirrorWork", "Pace",
    "Progress", "Queue", "Stage", "Wanted", "Watermark", "read_changesets", "read_pack",
]  # fmt: skip
