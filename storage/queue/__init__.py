"""Waiting work: queues of changesets in Redis, their claims, and their recovery from the bucket.

Begin with reader.py, which asks the queues, and queue.py, which changes them; recovery.py queues again what Redis lost.
Imports the packages of storage up to lookup.
"""
