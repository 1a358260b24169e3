"""The kinds of entries that do not stand in storage/log/entry.py, and what all kinds have in common: base.py. Pure."""
