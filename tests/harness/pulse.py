"""How soon landing goes on: asks for the global head all the time, and remembers when it moved."""

from __future__ import annotations

import threading
import time

from tests.harness.history import History
from tests.harness.wire import Wire

_EVERY = 0.15


class Pulse(threading.Thread):
    """A reader of the global head beside the writers. Use with `with`."""

    def __init__(self, wire: Wire, history: History) -> None:
        super().__init__(name="pulse", daemon=True)
        self._wire = wire
        self._history = history
        self._over = threading.Event()
        self._moved = threading.Condition()
        self._seq = 0  # the entry of the newest global commit that was seen

    def run(self) -> None:
        """Ask until it is over."""
        while not self._over.wait(_EVERY):
            answer = self._wire("GET", "/v1/head")
            if answer.status != 200:
                continue
            self._history.heads_told(answer.document)
            with self._moved:
                self._seq = max(self._seq, answer.document["main"]["seq"])
                self._moved.notify_all()

    def next_landing(self, timeout: float) -> float | None:
        """Return how long (seconds) it takes from now until something lands, None if it takes too long."""
        began = time.monotonic()
        with self._moved:
            seq = self._seq
            if self._moved.wait_for(lambda: self._seq > seq, timeout):
                return time.monotonic() - began
        return None

    def __enter__(self) -> Pulse:
        """Begin."""
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """End."""
        self._over.set()
        self.join()
