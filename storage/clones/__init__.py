"""Clone stores: bare Git repositories on a process's own disk that follow the log; begin with clones.py.

Each may be deleted at any moment, and is made again from the log, or from a checkpoint of it in the bucket.
"""
