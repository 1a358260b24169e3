"""The truth in the bucket: the log's entries, submission packs' manifests, and what follows from them without Redis.

Begin with entry.py and records.py (what an entry says) and log.py (how it is read and created). Imports base, backends
and git.
"""
