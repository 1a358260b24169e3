"""Objects, packs, trees, the bucket, the log, the view and the decisions about them. Imports neither Flask nor Celery.

The pure core (most of git, log and commit) takes values and returns values: no Redis,
no bucket, no clock, no randomness. tests/test_layering.py checks that.
"""

__version__ = "0.1.0"
