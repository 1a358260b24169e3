"""Maintenance, for small storage and fast starts: compaction, checkpoints, garbage collection, rebuilding the view.

Begin with compaction.py. Imports the packages of storage up to operations.
"""
