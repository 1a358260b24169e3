"""Ranges that are near one another are read by one request."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.backends.bucket import READERS, Bucket, OutOfRange
from storage.backends.ranges import GAP, LARGEST, Range, groups
from storage.base.settings import Settings

LENGTHS = st.lists(st.tuples(st.integers(0, 2 * GAP), st.integers(1, LARGEST)), max_size=30)


@given(st.dictionaries(st.sampled_from(["a", "b"]), LENGTHS), st.randoms())
def test_groups_are_of_one_object_in_order_and_near(objects: dict[str, list[tuple[int, int]]], chance: Random) -> None:
    wanted: list[Range] = []
    for name, lengths in objects.items():
        at = 0
        for gap, length in lengths:
            wanted.append((name, at + gap, length))
            at += gap + length
    shuffled = wanted.copy()
    chance.shuffle(shuffled)
    made = groups(shuffled)
    assert [range_ for group in made for range_ in group] == sorted(wanted)
    for group in made:
        assert len({name for name, _, _ in group}) == 1
        assert all(after[1] - (before[1] + before[2]) <= GAP for before, after in pairwise(group))
        assert len(group) == 1 or group[-1][1] + group[-1][2] - group[0][1] <= LARGEST


def test_several_ranges_are_what_each_alone_is(s3_settings: Settings) -> None:
    bucket = Bucket(s3_settings)
    bucket.ensure()
    data = bytes(range(256)) * 2000
    bucket.create("long", data)
    wanted = [("long", 5, 3), ("gone", 0, 9), ("long", 400_000, 7), ("long", 0, 256), ("long", 5, 3), ("long", 6, 100)]
    assert bucket.get_ranges(wanted) == [
        None if name == "gone" else data[offset : offset + length] for name, offset, length in wanted
    ]
    assert bucket.get_ranges([]) == []
    with pytest.raises(OutOfRange):
        bucket.get_ranges([("long", len(data) - 1, 1), ("long", len(data) + 1, 5)])


def test_calls_of_calls_at_once_wait_for_no_thread(s3_settings: Settings) -> None:
    bucket = Bucket(s3_settings)
    everywhere = Barrier(READERS)

    def outer(number: int) -> list[int]:
        everywhere.wait(60)  # every thread is taken
        return bucket.map_concurrently(lambda inner: number * inner, range(3))

    assert bucket.map_concurrently(outer, range(READERS)) == [[0, number, 2 * number] for number in range(READERS)]
