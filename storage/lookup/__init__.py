"""Finding objects and changesets by id: in memory, in Redis, in the pack that has them, in the archive.

Begin with object_store.py. Imports the packages of storage up to coordination.
"""
