"""Returning freed memory of long-lived children to the system: settings of glibc's malloc, if it is glibc."""

import ctypes

# Options of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
# A buffer from this size on is mapped alone, and goes back when it is freed: some 0.1 ms each time. Set, the limit does
# not grow with what was freed.
_MAPPED_BYTES = 256 << 10
_FREE_BYTES = 1 << 20
"""What a heap may have free at its end."""


def keep_little() -> None:
    """Make malloc return freed memory. Call it in a node before it has threads or children, which inherit it.

    By default each thread has a heap of its own, which keeps the buffers of the largest answer of S3 that the thread
    ever read. One heap is enough: nearly all memory is allocated under the interpreter's lock, by one thread at a time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, _MAPPED_BYTES)
        mallopt(_TRIM_THRESHOLD, _FREE_BYTES)
