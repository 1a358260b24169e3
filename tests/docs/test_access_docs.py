"""docs/access.md says of each request what it needs, as app/guard.py has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.guard import RULES, Needs
from storage.access.policy import ROLE_WITH, Right
from storage.base.settings import Settings
from tests.support.api import Api

PAGE = Path(__file__).parents[2] / "docs" / "access.md"
ROW = re.compile(r"^\| `([A-Z]+ /[^`]*)` \| (.+) \|$", re.MULTILINE)
IMPLIED = {"HEAD", "OPTIONS"}


def documented() -> dict[str, str]:
    """Return what the page says that each request needs, with `{}` for what is filled in."""
    rows = ROW.findall(PAGE.read_text())
    assert len({request for request, _ in rows}) == len(rows)
    return {re.sub(r"{[^}]*}", "{}", request): needs for request, needs in rows}


@pytest.fixture
def endpoints(settings: Settings) -> Iterator[dict[str, str]]:
    """Each request that has a route, with its endpoint."""
    api = Api(settings)
    rules = api.http.application.url_map.iter_rules()
    yield {
        f"{method} {re.sub(r'<[^>]*>', '{}', rule.rule)}": rule.endpoint
        for rule in rules
        for method in (rule.methods or set()) - IMPLIED
    }
    api.close()


def test_each_request_has_a_row_that_says_what_the_guard_asks_for(endpoints: dict[str, str]) -> None:
    page = documented()
    assert page.keys() == endpoints.keys()
    for request, endpoint in endpoints.items():
        rule, needs = RULES[endpoint], page[request]
        if isinstance(rule, Right):
            assert needs == f"`{ROLE_WITH[rule]}` of `/`", request
        elif rule is Needs.NOBODY:
            assert needs == "nothing", request
        elif rule is Needs.METRICS:
            assert needs == "`reader` of `/`, or nothing where `open_metrics` is set", request
        else:
            assert not needs.startswith(("nothing", "`reader` of `/`")), request
