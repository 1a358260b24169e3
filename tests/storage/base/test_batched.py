"""Items in batches of a bounded number or size."""

from __future__ import annotations

import pytest

from storage.base.batched import batched, batched_by_size
from storage.base.progress import batched_with_progress


@pytest.mark.parametrize(
    ("items", "count", "batches"),
    [("", 2, []), ("a", 2, ["a"]), ("ab", 2, ["ab"]), ("abc", 2, ["ab", "c"]), ("abc", 9, ["abc"])],
)
def test_batches_have_so_many_items_and_the_last_one_the_rest(items: str, count: int, batches: list[str]) -> None:
    assert list(batched(items, count)) == [list(batch) for batch in batches]


def test_no_more_is_read_than_a_batch_needs() -> None:
    items = iter(range(10))
    assert next(batched(items, 3)) == [0, 1, 2] and next(items) == 3


@pytest.mark.parametrize(
    ("sizes", "most", "count", "batches"),
    [
        ([], 5, 9, []),
        ([2, 3, 1], 5, 9, [[2, 3], [1]]),
        ([9, 1, 9], 5, 9, [[9], [1], [9]]),
        ([1, 1, 1], 5, 2, [[1, 1], [1]]),
        ([0, 0, 5, 0], 5, 9, [[0, 0, 5, 0]]),
    ],
)
def test_batches_have_a_bounded_size_unless_one_item_is_larger(
    sizes: list[int], most: int, count: int, batches: list[list[int]]
) -> None:
    assert list(batched_by_size(sizes, int, most, count)) == batches


def test_progress_is_shown_before_each_batch_and_behind_the_last_one() -> None:
    shown: list[object] = []
    for batch in batched_with_progress("abc", 2, "read", lambda *progress: shown.append(progress)):
        shown.append(batch)
    assert shown == [("read", 0, 3), ["a", "b"], ("read", 2, 3), ["c"], ("read", 3, 3)]
