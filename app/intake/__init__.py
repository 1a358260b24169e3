"""From a valid request to a durable changeset: it is admitted, stored, and then queued.

Begin with intake.py, where a 202 becomes durable. Imports app.protocol, storage and tasks.
"""
