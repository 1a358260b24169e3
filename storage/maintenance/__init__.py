"""What keeps a deployment small and quick to start: compaction, checkpoints, garbage collection, rebuilding the view.

Begin with compaction.py. Imports the packages of storage up to operations.
"""
