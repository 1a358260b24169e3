"""The client of the HTTP API that the command line and the tests use: patient, and exact about what is known.

Begin with api_client.py. Imports nothing that serves.
"""
