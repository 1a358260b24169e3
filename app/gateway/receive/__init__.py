"""Pushes: from what `git push` sends to changesets of the intake, and back to what Git tells its user.

Begin with receiver.py. Nothing of a push comes into a clone store: it is received into a folder of its own, read, and
deleted, so that nothing of a refused push can ever be fetched (docs/decisions/0074-pushes-are-received-apart.md).
"""
