"""Items in batches of a bounded number or size, as `itertools.batched` of Python 3.12 gives them, but as lists."""

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], count: int) -> Iterator[list[T]]:
    """Yield items in order, `count` at a time; the last batch may have fewer, and none is empty."""
    rest = iter(items)
    while batch := list(islice(rest, count)):
        yield batch


def batched_by_size(
    items: Iterable[T], size_of: Callable[[T], int], most: int, count: int = sys.maxsize
) -> Iterator[list[T]]:
    """Yield items in order, so many at a time as have `most` together and are `count`; one that has more is alone."""
    batch: list[T] = []
    total = 0
    for item in items:
        size = size_of(item)
        if batch and (len(batch) >= count or total + size > most):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch
