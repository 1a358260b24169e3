"""Reading files of a few bytes, by as few calls of the system as can be: in each, other threads may get ahead."""

import os
from pathlib import Path

_MOST = 4096


def read_small(path: Path) -> bytes:
    """Return what a file of at most 4,096 bytes has. Raises OSError, and ValueError where it has more."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(descriptor, _MOST + 1)
    finally:
        os.close(descriptor)
    if len(data) > _MOST:
        raise ValueError(f"{path} has more than {_MOST} bytes")
    return data
