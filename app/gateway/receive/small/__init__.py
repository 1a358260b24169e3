"""A small push: read, checked and kept in memory."""
