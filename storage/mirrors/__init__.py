"""Mirrors: Git servers to which what lands is pushed, or from which commits are taken.

Begin with records.py; plan.py decides what is pushed, remotes.py which URLs there may be, and remote.py talks to one.
"""
