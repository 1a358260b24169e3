"""Many slices by one request: one entry of the log, an outcome for each, and repeats that change nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from app.routes import slices
from storage.backends import turns
from storage.base.ids import Seq
from storage.base.settings import Settings
from storage.log.entry import Slices, decode
from storage.operations.slices import define_many
from storage.view.load import load
from tests.support.api import Api, Json


def make(api: Api, *items: object, status: int = 201) -> list[Json]:
    return api.post("/slices", {"slices": list(items)}, status).get_json(force=True)["outcomes"]


def item(name: str, *paths: str) -> Json:
    return {"name": name, "paths": list(paths) or [f"{name}/"]}


def entry_of(api: Api) -> Slices:
    data = api.world.repo.log.read(Seq(api.world.repo.view.head().applied))
    assert data is not None
    entry = decode(data)
    assert isinstance(entry, Slices)
    return entry


def test_many_slices_are_one_entry_which_loads_again(api: Api) -> None:
    before = api.world.repo.view.head().applied
    wanted = [item(f"team{i}", f"team{i}/", "shared/") for i in range(700)]
    outcomes = make(api, *wanted)
    assert {outcome["status"] for outcome in outcomes} == {201}
    assert [(outcome["slice"]["name"], outcome["slice"]["version"]) for outcome in outcomes] == [
        (given["name"], 1) for given in wanted
    ]
    assert api.world.repo.view.head().applied == before + 1
    assert [definition.name for definition in entry_of(api).define] == [given["name"] for given in wanted]
    assert api.get("/slices/team699") == outcomes[699]["slice"]
    repo = api.world.repo
    load(repo.view, repo.log, repo.bucket, before=repo.view.epoch())
    assert api.get("/slices/team699") == outcomes[699]["slice"]
    assert len(api.get("/slices", path="shared/x", limit=1000)["items"]) == 701


def test_a_repeated_request_makes_no_other_slices(api: Api) -> None:
    first = make(api, item("a"), item("b"))
    before = api.world.repo.view.head().applied
    again = make(api, item("a"), item("b"), status=200)
    assert [outcome["status"] for outcome in again] == [200, 200]
    assert [outcome["slice"] for outcome in again] == [outcome["slice"] for outcome in first]
    assert api.world.repo.view.head().applied == before, "no entry"
    more = make(api, item("a"), item("c"))
    assert [outcome["status"] for outcome in more] == [200, 201]


def test_each_slice_has_an_outcome_of_its_own(api: Api) -> None:
    [there] = make(api, item("team/web"))
    outcomes = make(
        api,
        item("new"),
        item("team/web", "other/"),  # taken, with other paths
        item("team"),  # above one that is there
        item("team/web/js"),  # below it
        item("new"),  # the same again
        item("new", "else/"),  # the same name for another
        item("new/below"),
        item("x/y/z"),
        item("x/y"),
        {"name": "bad name", "paths": ["a/"]},
        {"name": "nopaths"},
        item("outside", "../x/"),
        7,
    )
    assert [outcome["status"] for outcome in outcomes] == [
        201, 409, 409, 409, 200, 409, 409, 201, 409, 422, 422, 422, 422,
    ]  # fmt: skip
    web, new = there["slice"]["id"], outcomes[0]["slice"]["id"]
    assert [outcomes[i]["problem"]["slice"] for i in (1, 2, 3)] == [web] * 3
    assert outcomes[4]["slice"]["id"] == new
    assert [outcomes[i]["problem"]["slice"] for i in (5, 6)] == [new] * 2
    assert [outcomes[i]["problem"]["errors"][0]["field"] for i in (9, 10, 11, 12)] == [
        "slices[9].name", "slices[10].paths", "slices[11].paths[0]", "slices[12]",
    ]  # fmt: skip
    assert [definition.name for definition in entry_of(api).define] == ["new", "x/y/z"]


def test_where_all_are_refused_the_whole_is_a_422(api: Api) -> None:
    before = api.world.repo.view.head().applied
    assert [outcome["status"] for outcome in make(api, item("all", "a/"), {}, status=422)] == [409, 422]
    assert api.world.repo.view.head().applied == before


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"slices": []}, "at least one"),
        ({"slices": {}}, "at least one"),
        ({"slices": [item("a"), item("b"), item("c"), item("d")]}, "max_bulk_slices"),
        ({"slices": [item("a", "a/", "b/", "c/"), item("b", "a/", "b/", "c/")]}, "max_bulk_paths"),
        ({"slices": [item("a")], "name": "b"}, "is not a field"),
    ],
)
def test_a_wrong_envelope_makes_no_slice(settings: Settings, unsent: object, body: Json, names: str) -> None:
    api = Api(replace(settings, max_bulk_slices=3, max_bulk_paths=5))
    before = api.world.repo.view.head().applied
    problem = api.post("/slices", body, 422).get_json(force=True)
    assert names in problem["errors"][0]["message"]
    assert api.world.repo.view.head().applied == before


def test_writers_of_the_same_slices_make_them_once(api: Api) -> None:
    another = api.another()
    first = make(api, item("a"), item("b"))
    second = make(another, item("b"), item("c"))
    assert [outcome["status"] for outcome in (*first, *second)] == [201, 201, 200, 201]
    assert second[0]["slice"] == first[1]["slice"]


def test_a_large_request_keeps_no_other_waiting_while_its_entry_is_appended(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    had_turn: list[bool] = []

    def noting(*given: Any) -> Any:
        had_turn.append(turns._has_turn.get())
        return define_many(*given)

    monkeypatch.setattr(slices, "define_many", noting)
    body = json.dumps({"slices": [item("a")]}).ljust(turns.LARGE_REQUEST + 1)
    answer = api.http.post("/v1/slices", data=body, content_type="application/json")
    assert answer.status_code == 201 and had_turn == [False]
