"""The projection of the log in Redis: how it is loaded, updated and read. It may be lost at any moment.

Begin with view.py; lua/apply.lua is the only code that writes it. Imports the packages of storage up to log.
"""
