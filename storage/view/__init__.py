"""The projection of the log in Redis: how it is loaded, updated and read. It may be lost at any moment.

Begin with view.py, and with lists.py, whose methods have its keys; lua/apply.lua is the only code that writes it.
Imports the packages of storage up to log.
"""
