"""Microseconds by stage, for the log and the benchmarks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Microseconds by stage, for the log and the benchmark."""

    def __init__(self) -> None:
        self.stages: dict[str, int] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of this block to stage `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0) + int((time.perf_counter() - started) * 1e6)

    def fields(self) -> dict[str, int]:
        """Return the stages as fields of a log event."""
        return {f"{name}_us": spent for name, spent in self.stages.items()}
