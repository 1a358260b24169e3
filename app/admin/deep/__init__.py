"""The full verification: Git computes every root again from what was submitted. Begin with verification.py."""

from app.admin.deep.verification import deep

__all__ = ["deep"]
