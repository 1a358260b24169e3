"""Changesets, slices and resolutions as requests bring them. Begin with schemas.py."""
