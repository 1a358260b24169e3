"""A user's folder: what it was made from, what Git ignores in it, and which changes `sluice submit` finds in it.

Begin with submission.py and slice_checkout.py. Imports app.client and storage's formats.
"""
