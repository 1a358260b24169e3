"""Importing a Git history with its ids into an empty repository.

Begin with importing.py. Imports the packages of storage up to commit.
"""

from storage.importing.importing import Imported, NotEmpty, import_history
from storage.importing.packing import DEPTH, LARGEST, PACK_BYTES
from storage.importing.source import NoSource, Unfit

__all__ = ["DEPTH", "LARGEST", "PACK_BYTES", "Imported", "NoSource", "NotEmpty", "Unfit", "import_history"]
