"""Memory that a long-lived child has freed and keeps all the same."""

from __future__ import annotations

import ctypes
import gc


def give_back_memory() -> None:
    """Give free memory back to the system, where the C library can (glibc does not by itself, once it is in pieces).

    A compaction takes some hundred megabytes at most, and lives in children that otherwise take a fourth of that.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
