"""The progress of a long command, reported to a callback that shows it."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from storage.base.batched import batched

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""What is called with a stage's name, how many items it is done with, and how many it has."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Show nothing."""


def batched_with_progress(items: Sequence[T], count: int, stage: str, progress: Progress) -> Iterator[list[T]]:
    """Yield batches of a stage's items; show how many are done before each batch, and behind the last one."""
    for number, batch in enumerate(batched(items, count)):
        progress(stage, number * count, len(items))
        yield batch
    progress(stage, len(items), len(items))
