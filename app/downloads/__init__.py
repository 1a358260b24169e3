"""A slice's files at a commit as one stream: the manifest in lines of JSON, and archives. HTTP is the routes' part.

Begin with manifest.py and archive.py; tar_format.py and zip_format.py are pure. Imports storage, and app.protocol for
cursors.
"""
