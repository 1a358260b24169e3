"""State that the processes of a deployment share in Redis: leases that expire, and which nodes are alive.

Begin with lease.py. Imports the packages of storage up to view.
"""

from storage.coordination.lease import Lease, LeaseName
from storage.coordination.nodes import EVERY, WORK, Node, Nodes, missing

__all__ = ["EVERY", "WORK", "Lease", "LeaseName", "Node", "Nodes", "missing"]
