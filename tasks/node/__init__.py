"""A Celery node as a process: its logs, heartbeats, memory, forked work, and what is changed of kombu.

Begin with program.py. Imports storage, and nothing of the tasks themselves.
"""
