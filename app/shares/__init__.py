"""What one principal may use: requests a second, bytes of bodies, queued changesets.

Begin with limits.py, which says what a caller may use; rates.py counts requests.
"""
