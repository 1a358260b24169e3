"""Every answer that a load got, counted and judged: all is answered, and what may pass says when to come back."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.harness.wire import Answer, Wire


class Tally:
    """A wire that counts what comes over it. Safe for threads."""

    def __init__(self, wire: Wire) -> None:
        self.answers: Counter[int] = Counter()  # by status; 0 is none
        self.slowest = 0.0  # seconds of the request that took longest, without those that wait on purpose
        self.breaches: list[str] = []
        self._wire = wire
        self._lock = threading.Lock()
        self._reads_go_on = False

    def __call__(self, method: str, path: str, body: Any = None, key: str | None = None) -> Answer:
        """Send one request, and judge its answer."""
        began, reads_went_on = time.monotonic(), self._reads_go_on
        answer = self._wire(method, path, body, key)
        took = time.monotonic() - began
        with self._lock:
            self.answers[answer.status] += 1
            if "wait=" not in path:
                self.slowest = max(self.slowest, took)
        wrong = fault_of(answer)
        if not wrong and reads_went_on and self._reads_go_on:
            wrong = _fault_while_full(method, answer)
        if wrong:
            self.breach(f"{method} {path}, after {took:.2f} s: {wrong}")
        return answer

    @contextmanager
    def reads_go_on(self) -> Iterator[None]:
        """Judge harder during this block, in which Redis is full: only submissions may be refused, with the reason."""
        self._reads_go_on = True
        try:
            yield
        finally:
            self._reads_go_on = False

    def breach(self, text: str) -> None:
        """Note an answer that no client may get."""
        with self._lock:
            self.breaches.append(text)


def _fault_while_full(method: str, answer: Answer) -> str:
    if answer.status != 503:
        return ""
    if method == "GET":
        return f"a read was refused: {answer.data[:200].decode(errors='replace')}"
    return "" if b"Redis" in answer.data else f"refused without the reason: {answer.data[:200]!r}"


def fault_of(answer: Answer) -> str:
    """Return what no answer may be, whatever is away: none at all, a 5xx but 503, a refusal without a time."""
    if answer.status == 0:
        return f"no answer: {answer.why}"
    if answer.status >= 500 and answer.status != 503:
        return f"status {answer.status}: {answer.data[:200].decode(errors='replace')}"
    if answer.status in {429, 503} and not answer.retry_after.isdecimal():
        return f"status {answer.status} without Retry-After"
    return ""
