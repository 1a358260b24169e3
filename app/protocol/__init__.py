"""The code of docs/api.md: it checks bodies, queries and cursors once, and turns errors into problem documents.

Begin with changesets/schemas.py and problems.py. Imports storage, and no other package of app.
"""
