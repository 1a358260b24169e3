"""What a child has freed goes back to the system, though something that lives on stands in between."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import psutil
from tasks.memory import give_back_memory

mine = psutil.Process().memory_info
blocks = [bytes(3000) for _ in range(50_000)]
kept = blocks[::500]
full = mine().rss
del blocks
give_back_memory()
print(full, mine().rss)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="malloc_trim is glibc's")
def test_free_memory_goes_back_to_the_system() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, check=True)
    full, left = map(int, done.stdout.split())
    assert full - left > 100_000_000
