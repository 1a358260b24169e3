"""Concurrent writers: threads that take lanes of work in turn, each lane in order and by one of them at a time."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Lane = TypeVar("Lane")


class Writers(Generic[Lane]):
    """Does `work` on `lanes`, a step at a time, until none has `more`. The first error ends all of it."""

    def __init__(self, lanes: Sequence[Lane], work: Callable[[Lane], None], more: Callable[[Lane], bool]) -> None:
        self._free = deque(lanes)
        self._unfinished = len(lanes)
        self._work = work
        self._more = more
        self._changed = threading.Condition()
        self._error: BaseException | None = None

    def run(self, count: int) -> None:
        """Start `count` threads and wait for them; raises what one of them raised."""
        # Daemons, because one may be in a long pause when another fails, or when Ctrl-C is pressed.
        threads = [threading.Thread(target=self._write, name=f"writer-{i}", daemon=True) for i in range(count)]
        for thread in threads:
            thread.start()
        try:
            with self._changed:
                while self._unfinished and self._error is None:
                    self._changed.wait()
        except BaseException as error:
            self._fail(error)
            raise
        if self._error is not None:
            raise self._error

    def _write(self) -> None:
        while True:
            with self._changed:
                while not self._free and self._unfinished and self._error is None:
                    self._changed.wait()
                if self._error is not None or not self._unfinished:
                    return
                lane = self._free.popleft()
            try:
                self._work(lane)
            except BaseException as error:  # noqa: BLE001 - `run` raises it
                self._fail(error)
                return
            with self._changed:
                if self._more(lane):
                    self._free.append(lane)
                else:
                    self._unfinished -= 1
                self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
