"""What else lands changes: each peer does the same work on the same input, and proves its result first."""
