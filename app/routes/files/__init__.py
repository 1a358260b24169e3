"""What the repository has: commits, trees, files and their contents."""
