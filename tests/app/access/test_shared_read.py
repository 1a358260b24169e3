"""One read serves all who ask at the same time, and a mute server keeps nobody waiting for the others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.access.shared_read import OtherFailed, SharedRead
from storage.backends import deadline
from storage.base.errors import Unavailable
from tests.support.waiting import await_true

CLIENTS = 20
LONG = 1000.0


class Source:
    """Counts reads, each of which waits until it may go on."""

    def __init__(self, *answers: int | Exception) -> None:
        self._answers = list(answers)
        self.given: list[int | None] = []
        self.go_on = threading.Semaphore(0)

    def __call__(self, before: int | None) -> int:
        answer = self._answers[len(self.given)]
        self.given.append(before)
        self.go_on.acquire()
        if isinstance(answer, Exception):
            raise answer
        return answer


def waiting_for(shared: SharedRead[int]) -> Callable[[], bool]:
    def are() -> bool:
        read = shared._under_way
        return read is not None and len(read.ended._cond._waiters) == CLIENTS - 1  # type: ignore[attr-defined]

    return are


def test_who_asks_a_moment_later_is_told_without_a_read() -> None:
    source = Source(1, 2)
    source.go_on.release(2)
    shared = SharedRead(source, fresh=LONG)
    assert (shared.get(), shared.get()) == (1, 1)
    shared.expire()
    assert (shared.get(), shared.get()) == (2, 2)
    assert source.given == [None, 1], "each read knows the one before"


def test_those_who_ask_during_a_read_get_that_or_the_next_one() -> None:
    source = Source(1, 2)
    shared = SharedRead(source, fresh=0.0)  # what has been read is always too old
    with ThreadPoolExecutor(CLIENTS) as pool:
        asked = [pool.submit(shared.get) for _ in range(CLIENTS)]
        await_true(waiting_for(shared))
        source.go_on.release(2)
        values = [each.result() for each in asked]
    assert sorted(values) == [1] + [2] * (CLIENTS - 1), "one read since the others came, for all of them"


def test_a_read_that_fails_is_tried_once_more_for_all_who_wait() -> None:
    source = Source(Unavailable("first"), Unavailable("second"))
    shared = SharedRead(source, fresh=LONG)
    with ThreadPoolExecutor(CLIENTS) as pool:
        asked = [pool.submit(shared.get) for _ in range(CLIENTS)]
        await_true(waiting_for(shared))
        source.go_on.release(2)
        errors = [each.exception() for each in asked]
    assert {str(error) for error in errors if not isinstance(error, OtherFailed)} == {"first", "second"}
    assert sum(isinstance(error, OtherFailed) for error in errors) == CLIENTS - 2
    assert len(source.given) == 2


def test_nobody_waits_longer_than_a_budget() -> None:
    source = Source(1)
    shared = SharedRead(source, fresh=LONG)
    with ThreadPoolExecutor(1) as pool:
        leading = pool.submit(shared.get)
        await_true(lambda: bool(source.given))
        with deadline.budget("request_budget", 0.01), pytest.raises(deadline.Spent):
            shared.get()
        source.go_on.release()
        assert leading.result() == shared.get() == 1


def test_news_during_a_read_have_the_next_one_read_again() -> None:
    source = Source(1, 2)
    shared = SharedRead(source, fresh=LONG)
    with ThreadPoolExecutor(1) as pool:
        leading = pool.submit(shared.get)
        await_true(lambda: bool(source.given))
        shared.expire()
        source.go_on.release(2)
        assert leading.result() == 1
    assert shared.get() == 2
