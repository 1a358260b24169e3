"""The Flask API, the command line `sluice`, and the tools of writers and operators. Imports tasks and storage."""

__version__ = "0.1.0"
