"""What a process counts: nothing is lost or counted twice, by threads, forks and those who take it."""

from __future__ import annotations

import os
import threading
from collections import Counter as Tally

import pytest

from storage.metrics import definitions
from storage.metrics.counts import COUNTS, SUM, Counts
from storage.metrics.definitions import Counter, Histogram

pytestmark = pytest.mark.usefixtures("only_this_test_counts")

SEEN = Counter("sluice_seen", "Things seen.", ("kind",))
SIZES = Histogram("sluice_sizes", "Sizes.", (), (1.0, 10.0), 1000)


def test_what_was_counted_is_taken_once() -> None:
    counts = Counts()
    counts.add(SEEN, "a")
    counts.add(SEEN, "a", count=2)
    counts.add(SEEN, "b")
    assert counts.take() == {("sluice_seen", ("a",), ""): 3, ("sluice_seen", ("b",), ""): 1}
    assert counts.take() == {}


def test_a_value_is_in_the_first_bucket_that_holds_it_and_in_the_sum() -> None:
    counts = Counts()
    for value in (0.25, 1.0, 1.5, 11.0):
        counts.observe(SIZES, value)
    counts.observe(SIZES, 2.0, times=3)
    found = {bucket: count for (_, _, bucket), count in counts.take().items()}
    assert found == {"1.0": 2, "10.0": 4, "+Inf": 1, SUM: 19750}


def test_threads_that_count_and_one_that_takes_lose_nothing() -> None:
    counts, total, over = Counts(), Tally[str](), threading.Event()

    def take() -> None:
        while not over.is_set():
            total.update({labels[0]: count for (_, labels, _), count in counts.take().items()})

    taker = threading.Thread(target=take)
    writers = [threading.Thread(target=lambda: [counts.add(SEEN, "a") for _ in range(5000)]) for _ in range(4)]
    for thread in [taker, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    taker.join()
    total.update({labels[0]: count for (_, labels, _), count in counts.take().items()})
    assert total == {"a": 20_000}


def test_a_fork_begins_with_nothing_and_can_count_whoever_held_the_lock() -> None:
    COUNTS.take()
    COUNTS.add(definitions.SUBMITTED)
    read, write = os.pipe()
    with COUNTS._lock:
        pid = os.fork()
        if pid == 0:
            COUNTS.add(definitions.SUBMITTED, count=5)
            os.write(write, str(list(COUNTS.take().values())).encode())
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as said:
        assert said.read() == "[5]"
    os.waitpid(pid, 0)
    assert COUNTS.take() == {("sluice_submitted", (), ""): 1}


def test_what_another_process_counted_is_added() -> None:
    counts = Counts()
    counts.add(SEEN, "a")
    counts.take_over({("sluice_seen", ("a",), ""): 2})
    assert counts.take() == {("sluice_seen", ("a",), ""): 3}


def test_names_are_those_of_prometheus_and_each_is_there_once() -> None:
    names = [metric.name for metric in definitions.ALL]
    assert len(set(names)) == len(names) > 15
    assert all(name.startswith(definitions.PREFIX) and not name.endswith("_total") for name in names)
    for metric in definitions.ALL:
        if isinstance(metric, Histogram):
            assert list(metric.bounds) == sorted(set(metric.bounds))
