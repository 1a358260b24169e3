"""A batch: deciding each path, linking commits, proving the root, appending the entry to the log.

Begin with batch.py, which runs the steps; decide.py and link.py are pure. Imports storage.repository and what it opens.
"""
