from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from tests.support import api
from tests.support.conformance import Watch


@pytest.fixture(autouse=True)
def answers_are_described(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every answer that a test of the routes gets is one that the OpenAPI document has: status, headers and body."""
    watches: list[Watch] = []
    create = api.create_app

    def watched(*args: Any, **options: Any) -> Flask:
        app = create(*args, **options)
        watches.append(Watch(app))
        return app

    monkeypatch.setattr(api, "create_app", watched)
    yield
    assert [wrong for watch in watches for wrong in watch.wrong] == []
