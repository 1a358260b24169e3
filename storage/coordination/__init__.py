"""State that the processes of a deployment share in Redis: leases that expire, and which nodes are alive.

Begin with lease.py. Imports the packages of storage up to view.
"""

from storage.coordination.heartbeat import Heartbeat
from storage.coordination.lease import Lease, LeaseName, end_orphans, holders, new_owner
from storage.coordination.nodes import EVERY, WORK, Node, Nodes, missing

__all__ = [
    "EVERY", "WORK", "Heartbeat", "Lease", "LeaseName", "Node", "Nodes", "end_orphans", "holders", "missing",
    "new_owner",
]  # fmt: skip
