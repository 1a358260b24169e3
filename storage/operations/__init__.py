"""Operations of the API that need no worker: slices, releases, abandonments, rebases, long lists, activity at a path.

Begin with lifecycle.py. Imports the packages of storage up to commit.
"""
