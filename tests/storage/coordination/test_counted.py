"""The counts of all processes in Redis: each is in the sums once, whatever becomes of its process, or of an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from storage.backends.redis_client import connect
from storage.backends.scripts import Scripts
from storage.base.settings import Settings
from storage.coordination import ProcessReport, Reporter, counted, read_sums
from storage.metrics.counts import COUNTS
from storage.metrics.definitions import REFUSALS, SUBMITTED
from storage.view.view import View

pytestmark = pytest.mark.usefixtures("only_this_test_counts")

KEY = ("sluice_submitted", (), "")


@pytest.fixture
def view(redis_settings: Settings) -> View:
    COUNTS.take()
    return View(redis_settings, connect(redis_settings, counted=False))


@pytest.fixture
def new(redis_settings: Settings, view: View) -> Callable[..., Reporter]:
    """A process's reporter, whose thread does not run: the test says when it reports."""
    return lambda process="api", **levels: Reporter(redis_settings, process, lambda: levels)


def submitted(view: View) -> int:
    return read_sums(view).counted.get(KEY, 0)


def test_the_sums_are_of_all_processes(view: View, new: Callable[..., Reporter]) -> None:
    first, second = new(), new("commits")
    for reporter, count in [(first, 3), (second, 4), (first, 5)]:
        COUNTS.add(SUBMITTED, count=count)
        COUNTS.add(REFUSALS, "429", "too-many")
        reporter.report()
    sums = read_sums(view).counted
    assert sums == {KEY: 12, ("sluice_refusals", ("429", "too-many"), ""): 3}


def test_a_process_that_ends_takes_nothing_away_and_another_goes_on(view: View, new: Callable[..., Reporter]) -> None:
    first = new()
    COUNTS.add(SUBMITTED, count=3)
    first.stop()
    assert (submitted(view), read_sums(view).processes) == (3, ())
    second = new()
    COUNTS.add(SUBMITTED)
    second.report()
    assert submitted(view) == 4


def lose_answers(monkeypatch: pytest.MonkeyPatch, done: bool) -> Callable[[], None]:
    """Have reports fail, though Redis has `done` them; returns what ends that."""
    call = Scripts.__call__

    def lose(self: Scripts, name: str, *args: Any, **options: Any) -> Any:
        if name == "count":
            if done:
                call(self, name, *args, **options)
            raise redis.TimeoutError("no answer")
        return call(self, name, *args, **options)

    monkeypatch.setattr(Scripts, "__call__", lose)
    return lambda: monkeypatch.setattr(Scripts, "__call__", call)


@pytest.mark.parametrize("done", [True, False])
def test_a_report_without_an_answer_is_repeated_and_counts_once(
    view: View, new: Callable[..., Reporter], monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    reporter = new()
    COUNTS.add(SUBMITTED, count=3)
    end = lose_answers(monkeypatch, done)
    reporter.report()
    COUNTS.add(SUBMITTED, count=4)
    reporter.report()
    end()
    assert submitted(view) == (3 if done else 0)
    reporter.report()
    assert submitted(view) == 7


def test_a_redis_that_lost_everything_counts_from_zero(view: View, new: Callable[..., Reporter]) -> None:
    reporter = new()
    COUNTS.add(SUBMITTED, count=3)
    reporter.report()
    view.redis.delete(*view.redis.scan_iter(match=f"{view.prefix}*"))
    COUNTS.add(SUBMITTED, count=2)
    reporter.report()
    assert submitted(view) == 2 and len(read_sums(view).processes) == 1


def test_what_a_process_has_now_goes_with_it(
    view: View, new: Callable[..., Reporter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counted, "__version__", "7.1")
    first, second = new(event_streams=2), new("merges-tasks")
    for reporter in (first, second):
        reporter.report()
    found = sorted(read_sums(view).processes, key=lambda each: each.process)
    assert found == [ProcessReport("api", "7.1", {"event_streams": 2}), ProcessReport("merges-tasks", "7.1")]
    first.stop()
    assert [each.process for each in read_sums(view).processes] == ["merges-tasks"]
    monkeypatch.setattr(counted, "_SILENCE_MS", -1)
    assert read_sums(view).processes == ()


def test_reporting_is_not_counted_itself(view: View, new: Callable[..., Reporter]) -> None:
    reporter = new()
    COUNTS.add(SUBMITTED)
    reporter.report()
    reporter.report()
    assert COUNTS.take() == {}
