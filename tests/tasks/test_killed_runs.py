"""A run whose process ended under it: its node counts it and says so, since nobody else can."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.worker.request import Request
from structlog.testing import capture_logs

from storage.metrics.counts import COUNTS
from tasks.flower_rows import RowRequest

pytestmark = pytest.mark.usefixtures("only_this_test_counts")


@pytest.mark.parametrize(
    ("error", "counted"),
    [(WorkerLostError("signal 9"), 1), (TimeLimitExceeded(300), 1), (ValueError("its own process has said so"), 0)],
)
def test_what_a_process_could_not_say_any_more_is_counted_and_logged(
    error: Exception, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed_on: list[object] = []
    monkeypatch.setattr(Request, "on_failure", lambda self, info, *_, **__: passed_on.append(info))
    request = object.__new__(RowRequest)
    request.name, request.id = "sluice.commit", "7"
    failure = SimpleNamespace(exception=error)
    COUNTS.take()
    with capture_logs() as logs:
        request.on_failure(failure)
    assert passed_on == [failure]
    of_task = {key: count for key, count in COUNTS.take().items() if key[0] == "sluice_task_failures"}
    kind = type(error).__name__
    assert of_task == ({("sluice_task_failures", ("sluice.commit", kind), ""): 1} if counted else {})
    assert [(each["event"], each["task"], each["error"]) for each in logs] == [
        ("task_killed", "sluice.commit", kind)
    ] * counted
