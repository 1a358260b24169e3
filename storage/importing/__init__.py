"""Importing a Git history with its ids into an empty repository.

Begin with importing.py. Imports the packages of storage up to commit.
"""

from storage.importing.importing import Imported, import_history
from storage.importing.source import Unfit

__all__ = ["Imported", "Unfit", "import_history"]
