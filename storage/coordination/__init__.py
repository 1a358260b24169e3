"""State that the processes of a deployment share in Redis.

Leases that expire, which nodes are alive, what all have counted, and how queued changesets get on. Begin with lease.py.
Imports the packages of storage up to view.
"""

from storage.coordination.counted import ProcessReport, Reporter, read_sums
from storage.coordination.heartbeat import Heartbeat
from storage.coordination.lease import Lease, LeaseName, end_orphans, holders, new_owner
from storage.coordination.nodes import EVERY, MIRRORS, WEBHOOKS, WORK, Node, Nodes, missing
from storage.coordination.progress import progress_of
from storage.coordination.request_counts import RequestCounts

__all__ = [
    "EVERY", "MIRRORS", "WEBHOOKS", "WORK", "Heartbeat", "Lease", "LeaseName", "Node", "Nodes", "ProcessReport",
    "Reporter", "RequestCounts",
    "end_orphans", "holders", "missing", "new_owner", "progress_of", "read_sums",
]  # fmt: skip
