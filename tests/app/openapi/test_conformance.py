"""What looks at the answers of the route tests finds what the document does not say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Response, jsonify

from storage.base.settings import Settings
from tests.support import api as support
from tests.support.api import Api
from tests.support.conformance import Watch

HEAD = {"main": {"commit": "a" * 40, "seq": 1}, "tip": {"commit": "b" * 40, "seq": 1}, "applied": 1}


def answered(settings: Settings, monkeypatch: pytest.MonkeyPatch, view: Callable[[], Any]) -> list[str]:
    """Return what is found of an answer to `GET /v1/head`."""
    watches: list[Watch] = []
    create = support.create_app

    def watched(*args: Any, **options: Any) -> Any:
        app = create(*args, **options)
        app.view_functions["reads.head"] = view
        watches.append(Watch(app))
        return app

    monkeypatch.setattr(support, "create_app", watched)
    Api(settings).http.get("/v1/head")
    [watch] = watches
    return watch.wrong


@pytest.mark.parametrize(
    ("view", "found"),
    [
        (lambda: jsonify(HEAD), None),
        (lambda: jsonify({**HEAD, "more": 1}), "'more' was unexpected"),
        (lambda: jsonify({**HEAD, "applied": "1"}), "$.applied: '1' is not of type 'integer'"),
        (lambda: jsonify({"main": HEAD["main"], "tip": HEAD["tip"]}), "'applied' is a required property"),
        (lambda: (jsonify(HEAD), 201), "this status is not described"),
        (lambda: Response("x", content_type="text/plain"), "text/plain is not described"),
        (lambda: (jsonify(HEAD), 200, {"X-Git-New": "1"}), "the header X-Git-New is not described"),
        (lambda: (jsonify({"type": "urn:sluice:problem:x"}), 503), "it has no Retry-After"),
    ],
)
def test_each_difference_is_found(
    settings: Settings, unsent: object, monkeypatch: pytest.MonkeyPatch, view: Callable[[], Any], found: str | None
) -> None:
    wrong = answered(settings, monkeypatch, view)
    assert wrong == [] if found is None else any(found in each for each in wrong), wrong
