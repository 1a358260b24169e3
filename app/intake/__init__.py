"""From a valid request to a durable changeset: whether it can be taken, how it is stored, and then queued.

Begin with intake.py, where a 202 becomes durable. Imports app.protocol, storage and tasks.
"""
