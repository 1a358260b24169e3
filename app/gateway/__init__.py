"""The gateway: Git's smart HTTP, for clones and fetches of slices and of the whole repository.

Begin with application.py, which has the routes, and stores.py, which says who may have what. Git's own upload-pack
makes the packs. What needs no process is answered here: the advertisement and the refs of protocol version 2
(wire), and packs that were made before (answers.py).
"""
