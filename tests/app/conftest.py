from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from storage.settings import Settings
from tasks import commits
from tests.app.http import Api


@pytest.fixture
def unsent(monkeypatch: pytest.MonkeyPatch) -> SimpleQueue[str]:
    """Messages that would go to Celery; the tests work themselves."""
    sent: SimpleQueue[str] = SimpleQueue()
    monkeypatch.setattr(commits, "send", lambda app, task, token=None: sent.put(task))
    return sent


@pytest.fixture
def api(settings: Settings, unsent: SimpleQueue[str]) -> Iterator[Api]:
    made = Api(settings)
    yield made
    made.close()
