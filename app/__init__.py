"""The Flask API, the command line `sluice`, and the tools of writers and operators. Imports tasks and storage."""

from storage import __version__ as __version__
