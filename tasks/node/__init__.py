"""A Celery node as a process: its logs, heartbeats, memory, counts, forked work, and fixes of kombu.

Begin with program.py. Imports storage, and nothing of the tasks themselves.
"""

from tasks.node.forked import run_forked
from tasks.node.heartbeat import SaysAlive
from tasks.node.malloc import keep_little
from tasks.node.watch import Watch

__all__ = ["SaysAlive", "Watch", "keep_little", "run_forked"]
