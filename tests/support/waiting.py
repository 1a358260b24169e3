"""Waiting for what another process or thread does, which shows in answers only."""

from __future__ import annotations

import time
from collections.abc import Callable


def await_true(question: Callable[[], bool], seconds: float = 60.0) -> None:
    """Ask until the answer is yes: other processes' progress shows in their answers only. No answer is a no."""
    deadline = time.monotonic() + seconds
    answer: object = False
    while True:
        try:
            if answer := question():
                return
        except OSError as error:
            answer = error
        assert time.monotonic() < deadline, f"it did not come true: {answer}"
        time.sleep(0.1)
