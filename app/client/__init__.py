"""The client of the HTTP API that the command line and the tests use: it retries temporary failures within a limit.

Begin with api_client.py. Imports no code of the server.
"""
