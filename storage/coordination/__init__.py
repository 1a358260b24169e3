"""What the processes of a deployment agree on in Redis: leases that end by themselves, and which processes are at work.

Begin with lease.py. Imports the packages of storage up to view.
"""
