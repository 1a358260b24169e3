"""The two servers, and nothing of what Sluice keeps in them: the bucket (any S3) and Redis with its Lua scripts.

Begin with bucket.py and scripts.py. deadline.py bounds how long all calls of one request or batch take together.
Imports storage.base alone.
"""
