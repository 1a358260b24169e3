"""Webhooks: their records, secrets and signatures, and which addresses they may call. Pure.

Begin with records.py. Imports `access` and `base` of storage alone, since an entry of the log has these records.
"""
