"""State that the processes of a deployment share in Redis: leases that expire, and which nodes are alive.

Begin with lease.py. Imports the packages of storage up to view.
"""
