"""How soon landing goes on: asks for the global head all the time, and for what was under way when a fault was over."""

from __future__ import annotations

import threading
import time

from tests.harness.history import FINAL, History
from tests.harness.wire import Wire

_EVERY = 0.15
_LONG_POLL = 1.0


class Heartbeat(threading.Thread):
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
            self._history.note_heads(answer.document)
            with self._moved:
                self._seq = max(self._seq, answer.document["main"]["seq"])
                self._moved.notify_all()

    def recovery(self, timeout: float) -> float | None:
        """Return how long (seconds) it takes from now until all that is accepted by now has ended, and something lands.

        None if it takes longer than the time-out.
        """
        began = time.monotonic()
        with self._moved:
            seq = self._seq
        for changeset in self._history.under_way():
            while changeset not in self._history.ended:
                if time.monotonic() - began > timeout:
                    return None
                if self._has_ended(changeset):
                    break
        with self._moved:
            if self._moved.wait_for(lambda: self._seq > seq, began + timeout - time.monotonic()):
                return time.monotonic() - began
        return None

    def next_landing(self, timeout: float) -> float | None:
        """Return how long (seconds) it takes from now until something lands, None if it takes too long."""
        began = time.monotonic()
        with self._moved:
            seq = self._seq
            return time.monotonic() - began if self._moved.wait_for(lambda: self._seq > seq, timeout) else None

    def _has_ended(self, changeset: str) -> bool:
        answer = self._wire("GET", f"/v1/changesets/{changeset}?wait={_LONG_POLL:g}&until=landed")
        if answer.status != 200:
            self._over.wait(_EVERY)
            return False
        self._history.note_changeset(self.name, answer.document)
        return answer.document["status"] in {*FINAL, "held"}

    def __enter__(self) -> Heartbeat:
        """Begin."""
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """End."""
        self._over.set()
        self.join()
