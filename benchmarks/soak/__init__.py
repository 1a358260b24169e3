"""The soak: half of what a stack can take, for long, and what grows meanwhile."""
