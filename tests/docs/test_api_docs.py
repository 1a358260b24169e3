"""docs/api.md names the requests that the API answers, all of them and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.api import create_app
from storage.base.settings import Settings
from storage.repository import Repository

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
# Every path answers these by itself.
IMPLIED = {"HEAD", "OPTIONS"}
REQUEST = re.compile(r"\b(GET|POST|PATCH|PUT|DELETE) (/[^\s`?]*)")


def documented() -> set[str]:
    """Return the requests that the page names, with `{}` for what is filled in."""
    return {f"{method} {re.sub(r'{[^}]*}', '{}', path)}" for method, path in REQUEST.findall(PAGE.read_text())}


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The requests for which the API has a route; no server is asked for that."""
    monkeypatch.setattr(Repository, "prepare", lambda repo, patience=0.0: None)
    rules = create_app(Settings(), check=False).url_map.iter_rules()
    return {f"{method} {re.sub(r'<[^>]*>', '{}', rule.rule)}" for rule in rules for method in rule.methods - IMPLIED}


def test_every_request_that_the_page_names_has_a_route(routed: set[str]):
    assert documented() - routed == set()


def test_every_route_is_on_the_page(routed: set[str]):
    assert routed - documented() == set()
