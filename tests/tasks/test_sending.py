"""A message that cannot be sent costs time only; what nobody expects is logged with its traceback."""

from __future__ import annotations

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisDown
from structlog.testing import capture_logs

from tasks.base import send
from tasks.celery import app


@pytest.mark.parametrize(
    ("error", "with_traceback"), [(RedisDown(), False), (OperationalError(), False), (ZeroDivisionError(), True)]
)
def test_an_error_of_no_server_is_logged_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, error: Exception, with_traceback: bool
) -> None:
    monkeypatch.setattr(app, "send_task", lambda *_, **__: (_ for _ in ()).throw(error))
    with capture_logs() as logged:
        assert not send(app, "sluice.commit")
    assert [(each["event"], each["exc_info"]) for each in logged] == [("message_not_sent", with_traceback)]
