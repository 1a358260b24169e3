"""`sluice audit`: whole lines, in order, of what the API tells."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from app.client.api_client import Client
from app.client.audit import follow
from tests.support.command_line import ID, Fake, objects, serve, sluice


def row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "_document_id": f"{number}-0", "created_at": "2026-01-31T12:00:00.000+00:00", "action": "slice.create",
        "actor": "user:ada", "actor_ip": "192.0.2.1", "token_id": ID, "request_id": ID, **more,
    }  # fmt: skip


def page(*rows: dict[str, Any], following: str | None = None, through: str = "9") -> dict[str, Any]:
    return {"items": list(rows), "next": following, "through": through}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SLUICE_API_PATIENCE", "0")
    with serve(Fake()) as fake:
        monkeypatch.setenv("SLUICE_API_URL", fake.url)
        yield fake


def test_a_line_has_who_from_where_and_what(fake: Fake) -> None:
    fake.answers.append((r"GET /v1/audit", 200, page(row(1, name="a\nb", paths=["docs/", "x"]))))
    result = sluice("audit")
    [line] = result.stdout.splitlines()
    assert result.exit_code == 0 and line.split()[1:5] == ["slice.create", "user:ada", ID, "192.0.2.1"]
    assert "name='a\\nb'" in line and "paths=docs/,x" in line


def test_json_lines_are_the_rows_of_all_pages(fake: Fake) -> None:
    fake.answers += [
        (r"GET /v1/audit\?changeset=\w+", 200, page(row(1), following="c")),
        (r"GET /v1/audit\?changeset=\w+&cursor=c", 200, page(row(2))),
    ]
    assert objects(sluice("audit", "--changeset", ID, "--json").stdout) == [row(1), row(2)]


def test_filters_are_those_of_the_api(fake: Fake) -> None:
    wanted = (
        r"GET /v1/audit\?slice=web&actor=user%3Aada&action=slice&token_id=t&since=2026-01-31T11%3A00%3A00%2B00%3A00"
    )
    fake.answers.append((wanted, 200, page(row(1))))
    more = ("--actor", "user:ada", "--action", "slice", "--token-id", "t", "--since", "2026-01-31T12:00+01:00")
    assert objects(sluice("audit", "--slice", "web", *more, "--json").stdout) == [row(1)]


def test_follow_begins_now_and_goes_on_behind_what_it_has_seen(fake: Fake) -> None:
    fake.answers += [
        (r"GET /v1/audit\?limit=1", 200, page(row(4), through="4")),
        (r"GET /v1/audit\?action=slice&order=oldest&after=4", 200, page(row(5), following="c", through="6")),
        (r"GET /v1/audit\?action=slice&order=oldest&after=4&cursor=c", 200, page(row(6), through="7")),
        (r"GET /v1/audit\?action=slice&order=oldest&after=7", 200, page(row(8), through="8")),
    ]
    pauses: list[float] = []
    rows = follow(Client(fake.url), {"action": "slice"}, 1.0, pauses.append)
    assert list(itertools.islice(rows, 3)) == [row(5), row(6), row(8)] and pauses == [1.0]


def test_follow_goes_with_neither_an_end_nor_one_changeset(fake: Fake) -> None:
    for more in (["--until", "1h"], ["--changeset", ID]):
        result = sluice("audit", "--follow", "--json", *more)
        assert result.exit_code == 2 and "--follow" in json.loads(result.stderr)["detail"]


@pytest.mark.parametrize("text", ["soon", "5y", "99999999999w", ""])
def test_a_time_that_is_none_is_refused(fake: Fake, text: str) -> None:
    assert sluice("audit", "--since", text).exit_code == 2
