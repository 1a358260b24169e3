"""What stood at a path, and since when: where a commit stands in the log, a path's changes, blame, comparisons."""
