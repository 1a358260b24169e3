"""The index, versions, the OpenAPI document, and the pages that show it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from app import __version__
from app.openapi.page import POLICY
from app.openapi.problem_types import TYPES
from storage.base.settings import Settings
from storage.log.entry import FORMATS
from tests.support.api import Api


def test_the_index_leads_to_every_operation(api: Api) -> None:
    index, document = api.get(""), api.get("/openapi.json")
    listed = {(each["method"].lower(), each["href"]) for each in index["operations"].values()}
    assert listed == {(method, path) for path, methods in document["paths"].items() for method in methods}
    for name in ("docs", "openapi", "problems"):
        assert api.http.get(index[name]).status_code == 200
    assert index["operations"]["submitChangeset"] == {"method": "POST", "href": "/v1/slices/{slice}/changesets"}


def test_the_index_says_where_repositories_are(settings: Settings, api: Api) -> None:
    assert api.get("")["git"] is None
    with_gateway = Api(replace(settings, git_url="https://git.example.org/"), api.world)
    assert with_gateway.get("")["git"] == "https://git.example.org/git/"


def test_the_version_says_which_entries_are_read(api: Api) -> None:
    assert api.get("/version") == {"version": __version__, "api": "1", "formats": list(FORMATS)}


@pytest.mark.parametrize("path", ["/v1/openapi.json", "/docs/swagger-ui.css"])
def test_what_does_not_change_is_sent_once(api: Api, path: str) -> None:
    first = api.http.get(path)
    assert first.status_code == 200 and first.headers["Cache-Control"] == "no-cache"
    again = api.http.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert api.another().http.get(path).headers["ETag"] == first.headers["ETag"], "another process has the same"


def test_the_page_loads_only_what_this_server_has(api: Api) -> None:
    page = api.http.get("/docs")
    assert page.mimetype == "text/html" and page.headers["Content-Security-Policy"] == POLICY
    text = page.get_data(as_text=True)
    named = re.findall(r'(?:src|href)="([^"]+)"', text)
    kinds = {name: api.http.get(f"/{name}").mimetype for name in named}
    assert kinds == {
        "docs/favicon-32x32.png": "image/png",
        "docs/swagger-ui.css": "text/css",
        "docs/swagger-ui-bundle.js": "text/javascript",
        "docs/begin.js": "text/javascript",
    }
    assert "<style" not in text and not re.search(r"<script(?! src)", text) and "unsafe" not in POLICY


@pytest.mark.parametrize("name", ["VERSION", "swagger-ui.js", "..%2Fflask_swagger_ui.py", "index.css"])
def test_other_files_of_the_package_are_not_served(api: Api, name: str) -> None:
    assert api.http.get(f"/docs/{name}").status_code == 404


def test_problem_types_are_shown_with_an_anchor_for_each(api: Api) -> None:
    page = api.http.get("/docs/problems")
    assert page.headers["Content-Security-Policy"] == POLICY
    assert re.findall(r'<h2 id="([a-z-]+)">', page.get_data(as_text=True)) == list(TYPES)
