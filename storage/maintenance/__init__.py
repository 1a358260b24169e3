"""Maintenance, for small storage and fast starts: compaction, checkpoints, garbage collection, rebuilding the view.

Begin with compaction.py. Imports the packages of storage up to operations.
"""

from storage.maintenance.checkpoints import checkpoint, roll_up
from storage.maintenance.compaction import FEW_ENTRIES, Compacted, compact
from storage.maintenance.garbage import collect

__all__ = ["FEW_ENTRIES", "Compacted", "checkpoint", "collect", "compact", "roll_up"]
