"""A writer's session ends when it is told to, whatever the API goes on to answer."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

from tests.harness.history import History
from tests.harness.session import Session
from tests.harness.wire import Answer


def never_knows(
    method: str, path: str, body: Any = None, key: str | None = None, if_match: str | None = None
) -> Answer:
    return Answer(503, b'{"status": 503}', "1")


def test_a_session_asks_no_longer_than_until_it_may() -> None:
    # What a bug has lost is answered with 503 for as long as anybody asks: it may be found yet.
    history, over = History(), threading.Event()
    session = Session("w", never_knows, history, random.Random(0), over, until=time.monotonic() + 0.1)
    assert session.post("a changeset", "release") is None and history.unknown > 0


def test_a_session_asks_no_longer_than_until_it_is_over() -> None:
    history, over = History(), threading.Event()
    session = Session("w", never_knows, history, random.Random(0), over)
    threading.Timer(0.1, over.set).start()
    assert session.head() is None
