"""What threads have freed goes back to the system, though something that lives on stands in between."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

# After one large answer glibc would take smaller ones from the heaps of threads, and leave them there.
IN_THREADS = """
import psutil
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from tasks.node.malloc import keep_little

keep_little()
mine, together = psutil.Process().memory_info, Barrier(8)
kept = []

def answer(size):
    together.wait()
    read = b"x" * size
    kept.append(b"y" * 1000)
    together.wait()

with ThreadPoolExecutor(8) as pool:
    list(pool.map(answer, [1000] * 8))
    before = mine().rss
    for size in (16, 4, 4):
        list(pool.map(answer, [size << 20] * 8))
    print(before, mine().rss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
@pytest.mark.long
def test_what_threads_have_freed_goes_back_by_itself() -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", IN_THREADS], cwd=root, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after - before < 2_000_000
