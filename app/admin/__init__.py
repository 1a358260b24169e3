"""Operators' tools that work on the bucket itself: backup, restore, export, verify.

Begin with verify.py. Imports storage and app.judge, and no HTTP.
"""
