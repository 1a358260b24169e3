"""Files in a folder that belong to Git or Sluice, and are never submitted, whatever the options.

A stack's data folder contains the secrets of its bucket. It may have any name, and is recognized by its files.
"""

import json
from pathlib import Path

_GIT = ".git"
_SLUICE = ".sluice"
_STATE = "stack.json"
_ENVIRONMENT = "environment"
_SECRET = b"SLUICE_S3_SECRET_KEY="
_STATE_FIELDS = frozenset({"s3", "access_key", "secret_key"})
_MAX_READ = 1 << 16  # bytes; both files are far smaller


def is_own_name(name: str) -> bool:
    """Tell whether a file or folder of this name is Git's or Sluice's own."""
    lower = name.lower()
    return lower == _GIT or lower.startswith(_SLUICE)


def is_own(path: str) -> bool:
    """Tell whether any part of a path is Git's or Sluice's own."""
    return any(is_own_name(part) for part in path.split("/"))


def is_data_folder(folder: Path) -> bool:
    """Tell whether `sluice up` keeps its data, and so secrets, in this very folder."""
    try:
        state = json.loads(_beginning(folder / _STATE))
    except ValueError:
        state = None
    if isinstance(state, dict) and state.keys() >= _STATE_FIELDS:
        return True
    return any(line.startswith(_SECRET) for line in _beginning(folder / _ENVIRONMENT).split(b"\n"))


def data_folder_above(folder: Path) -> Path | None:
    """Return the data folder that this folder is, or is in; None where there is none."""
    there = folder.resolve()
    return next((above for above in (there, *there.parents) if is_data_folder(above)), None)


def _beginning(file: Path) -> bytes:
    try:
        if not file.is_file():
            return b""
        with file.open("rb") as stream:
            return stream.read(_MAX_READ)
    except OSError:
        return b""
