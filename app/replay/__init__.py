"""Replaying a real repository's history through Sluice, from many concurrent writers."""
