"""What the API does by itself: slices, releases, abandonments, rebases, histories of one path.

Begin with lifecycle.py. Imports the packages of storage up to commit.
"""
