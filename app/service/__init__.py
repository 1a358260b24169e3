"""One API process: the services that its routes use, its limits, long polls, event streams and metrics.

Begin with services.py. Imports app.protocol, app.intake and storage.
"""
