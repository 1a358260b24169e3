"""docs/api.md as code: bodies, queries and cursors are checked here, once, and errors become problem documents.

Begin with schemas.py and problems.py. Imports storage, and no other package of app.
"""
