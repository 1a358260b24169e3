"""Requests that wait for a look-up at the same time share one call of Redis."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import pytest

from app.intake import lookups as module
from app.intake.lookups import Lookups
from storage.backends import deadline
from storage.base.errors import Unavailable
from storage.lookup.tables import CorruptTable
from storage.queue import Admission, Queue
from tests.support.waiting import await_true


class Asked:
    """A queue that notes what it is asked, and answers when it may."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], list[str], list[str]]] = []
        self.may_answer = threading.Event()
        self.error: Exception | None = None

    def admit_by_view(
        self, slices: Sequence[str], bases: Sequence[str], keys: Sequence[str], principals: Sequence[str]
    ) -> Admission:
        self.calls.append((list(slices), list(bases), list(keys)))
        assert self.may_answer.wait(60)
        if self.error:
            raise self.error
        return Admission(recovered=True, pending=len(self.calls), queued=0, held=0)

    def with_archived(self, admission: Admission, bases: Sequence[str]) -> Admission:
        if "damaged" in bases:
            raise CorruptTable("an index of the archive is damaged")
        return replace(admission, bases=frozenset(bases))


@pytest.fixture
def asked() -> Asked:
    return Asked()


def waiting(lookups: Lookups) -> Any:
    return lookups._next  # what those who wait have joined shows nowhere else


def test_those_who_come_while_a_call_is_under_way_share_the_next(asked: Asked) -> None:
    lookups = Lookups(cast(Queue, asked))
    with ThreadPoolExecutor(12) as pool:
        first = pool.submit(lookups.admission, ["a"], [], [])
        await_true(lambda: len(asked.calls) == 1)
        others = [pool.submit(lookups.admission, [f"s{i % 3}"], [f"b{i}"], [f"k{i}"]) for i in range(10)]
        await_true(lambda: waiting(lookups) is not None and len(waiting(lookups).keys) == 10)
        assert not first.done()
        asked.may_answer.set()
        assert first.result(60).pending == 1
        assert {other.result(60).pending for other in others} == {2}
    assert asked.calls[0] == (["a"], [], [])
    slices, bases, keys = asked.calls[1]
    assert sorted(slices) == ["s0", "s1", "s2"] and len(bases) == len(keys) == 10
    assert len(asked.calls) == 2


def test_one_that_comes_later_asks_anew(asked: Asked) -> None:
    asked.may_answer.set()
    lookups = Lookups(cast(Queue, asked))
    assert [lookups.admission(["a"], [], []).pending for _ in range(3)] == [1, 2, 3]


def test_an_error_is_that_of_all_who_share_the_call_and_of_no_other(asked: Asked) -> None:
    lookups = Lookups(cast(Queue, asked))
    asked.error = Unavailable("Redis is away")
    with ThreadPoolExecutor(3) as pool:
        failing = [pool.submit(lookups.admission, [], [], [name]) for name in "ab"]
        await_true(lambda: len(asked.calls) == 1 and waiting(lookups) is not None)
        asked.may_answer.set()
        for each in failing:
            with pytest.raises(Unavailable, match="Redis is away"):
                each.result(60)
    asked.error = None
    assert lookups.admission([], [], ["c"]).recovered


def test_who_waits_longer_than_its_budget_is_refused(asked: Asked) -> None:
    lookups = Lookups(cast(Queue, asked))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lookups.admission, ["a"], [], [])
        await_true(lambda: len(asked.calls) == 1)
        with deadline.budget("request_budget", 0.01), pytest.raises(deadline.Spent, match="request_budget"):
            lookups.admission(["b"], [], [])
        asked.may_answer.set()
        assert first.result(60).pending == 1
        assert lookups.admission(["c"], [], []).pending == 2, "which is not asked for who went away"
    assert asked.calls[1][0] == ["c"]


def test_what_its_maker_has_no_time_for_is_asked_for_by_those_who_have(asked: Asked) -> None:
    lookups = Lookups(cast(Queue, asked))

    def hasty() -> Admission:
        with deadline.budget("request_budget", 1.0):
            return lookups.admission(["hasty"], [], [])

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(lookups.admission, ["a"], [], [])
        await_true(lambda: len(asked.calls) == 1)
        maker = pool.submit(hasty)
        await_true(lambda: maker.done() or waiting(lookups) is not None)
        patient = pool.submit(lookups.admission, ["b"], [], [])
        with pytest.raises(deadline.Spent, match="request_budget"):
            maker.result(60)
        assert not patient.done()
        asked.may_answer.set()
        assert first.result(60).pending == 1
        assert patient.result(60).pending == 2
    assert len(asked.calls) == 2


def test_one_call_asks_for_a_bounded_number(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 3)
    lookups = Lookups(cast(Queue, asked))
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(lookups.admission, ["a"], [], [])
        await_true(lambda: len(asked.calls) == 1)
        calls = set()
        others = []
        for i in range(7):
            others.append(pool.submit(lookups.admission, [], [], [f"k{i}"]))
            await_true(lambda i=i: waiting(lookups) is not None and f"k{i}" in waiting(lookups).keys)
            calls.add(waiting(lookups))
        assert len(calls) == 3
        asked.may_answer.set()
        for each in [first, *others]:
            each.result(60)
    assert sorted(len(keys) for _, _, keys in asked.calls) == [0, 1, 3, 3]


def test_a_base_in_a_damaged_part_of_the_archive_fails_nobody_else(asked: Asked) -> None:
    lookups = Lookups(cast(Queue, asked))
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(lookups.admission, ["a"], [], [])
        await_true(lambda: len(asked.calls) == 1)
        damaged = pool.submit(lookups.admission, [], ["damaged"], [])
        await_true(lambda: waiting(lookups) is not None)
        other = pool.submit(lookups.admission, [], ["b"], [])
        await_true(lambda: len(waiting(lookups).bases) == 2)
        asked.may_answer.set()
        with pytest.raises(CorruptTable):
            damaged.result(60)
        assert other.result(60).bases == {"b"} and first.result(60).bases == set()
    assert len(asked.calls) == 2
