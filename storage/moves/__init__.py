"""Recorded moves: where a file is that a writer saw at another path.

Begin with trail.py.
"""
