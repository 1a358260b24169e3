"""One API process: what its routes work with, its limits, long polls, event streams and metrics.

Begin with services.py. Imports app.protocol, app.intake and storage.
"""
