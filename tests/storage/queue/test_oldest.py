"""By which changeset a deployment's progress is judged, on a real Redis."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from storage.base.ids import PackId, SliceId
from storage.base.settings import Settings
from storage.queue.states import Claimed
from tests.support.queue_bench import QueueBench


@pytest.fixture
def bench(redis_settings: Settings) -> QueueBench:
    return QueueBench(redis_settings)


def test_the_oldest_is_one_that_could_be_claimed(bench: QueueBench) -> None:
    assert bench.queue.oldest() is None
    held = replace(bench.made("S0"), hold=True)
    bench.queue.enqueue([(held, b"{}")])
    stacked = [bench.put("S0", base=held.id)[0]]
    for _ in range(150):
        stacked += bench.put("S1", base=stacked[-1])
    assert bench.queue.oldest() is None, "all of them wait for what is held"
    [free] = bench.put("S1")
    assert bench.queue.oldest() == free
    assert bench.queue.oldest(150) is None, "a bounded look"
    bench.decide(held.id, "S0")
    assert bench.queue.oldest() == stacked[0]
    bench.decide(stacked[0], "S0")
    bench.queue.release("me", [Claimed(SliceId("S0"), stacked[0], PackId("inbox/P-1"))])
    assert bench.queue.oldest() == stacked[1]
