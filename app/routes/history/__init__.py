"""Routes that show the past: tags, commits, versions of paths, blame, comparisons."""
