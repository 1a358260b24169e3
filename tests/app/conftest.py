from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from storage.base.settings import Settings
from tasks import notify
from tests.support.api import Api


@pytest.fixture(scope="package", autouse=True)
def nothing_is_sent() -> Iterator[None]:
    """What an API's thread announces after its test goes nowhere, and not to a Redis that may run on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notify, "send", lambda app, task, token=None, **more: None)
        yield


@pytest.fixture
def unsent(monkeypatch: pytest.MonkeyPatch) -> SimpleQueue[str]:
    """Messages that would go to Celery; the tests work themselves."""
    sent: SimpleQueue[str] = SimpleQueue()
    monkeypatch.setattr(notify, "send", lambda app, task, token=None, **more: sent.put(task))
    return sent


@pytest.fixture
def api(settings: Settings, unsent: SimpleQueue[str]) -> Api:
    return Api(settings)
