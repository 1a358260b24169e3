"""The full verification: every root made again from what was submitted, by Git. Begin with verification.py."""

from app.admin.deep.verification import Deep, deep

__all__ = ["Deep", "deep"]
