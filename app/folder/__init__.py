"""A user's folder: what it was made from, what Git ignores in it, and what `sluice submit` makes of it.

Begin with submission.py and slice_checkout.py. Imports app.client and storage's formats.
"""
