"""A deep look at the log: every root made again from what was submitted, by Git. Start with look.py."""

from app.admin.deep.look import Deep, deep

__all__ = ["Deep", "deep"]
