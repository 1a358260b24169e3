"""A batch: deciding each path, linking commits, proving the root, appending the entry to the log.

Begin with decide.py and link.py, which are pure; append_loop.py writes. Imports storage.repository and what that opens.
"""
