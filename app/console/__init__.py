"""The command line's own edge: exit codes, what failures are called, what is printed and how, options commands share.

Begin with failures.py and output.py. Imports app.client, and storage.base for settings.
"""
