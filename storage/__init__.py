"""Objects, packs, trees, the bucket, the log and the view. Knows nothing of Flask or Celery.

The pure core (most of git, log and commit) takes values and returns values: no Redis,
no bucket, no clock, no randomness. tests/test_layering.py holds it to that.
"""
