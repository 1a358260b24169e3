"""A Celery node as a process: its logs, heartbeats, memory, forked work, and fixes of kombu.

Begin with program.py. Imports storage, and nothing of the tasks themselves.
"""
