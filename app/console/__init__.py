"""What all commands share: exit codes, error messages, output for people and as JSON, options.

Begin with failures.py and output.py. Imports app.client, and storage.base for settings.
"""
