"""Who may do what: tokens, the policy, and the rights that follow from it. Pure.

Begin with rights.py. Imports nothing else of storage.
"""
