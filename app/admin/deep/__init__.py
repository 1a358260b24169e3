"""The full verification: Git computes every root again from what was submitted. Begin with verification.py."""

from app.admin.deep.verification import Deep, deep

__all__ = ["Deep", "deep"]
