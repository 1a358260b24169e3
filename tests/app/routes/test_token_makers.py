"""What a revocation takes with it, what a token leaves of its principal's rights, and paths that want a slash."""

from __future__ import annotations

from typing import Any

import pytest

from app.routes.access.tokens import MOST_MAKERS
from storage.base.settings import Settings
from storage.log.records import Actor
from storage.operations import access
from storage.view.access import tokens_of
from tests.support.api import Api, Json
from tests.support.compaction import emptied
from tests.support.principals import fresh, grants, principal, secured


@pytest.fixture
def root(settings: Settings, unsent: object) -> Api:
    return secured(settings)


def made(api: Api, name: str, **limits: Any) -> tuple[Api, Json]:
    """Have a client make a token; return a client that sends it, and what was answered."""
    answer: Json = api.post("/tokens", {"principal": name, **limits}, 201).get_json(force=True)
    fresh(api)
    return api.as_(answer["token"]), answer


def left(root: Api) -> list[str]:
    return [token["id"] for token in root.get("/tokens")["items"]]


def test_a_revocation_takes_along_what_the_token_made_and_what_that_made(root: Api) -> None:
    grants(root, "user:ada reader /")
    ada, first = made(root, "user:ada")
    second, second_token = made(ada, "user:ada")
    third, third_token = made(second, "user:ada")
    _, other = made(root, "user:ada")
    assert (first["made_by"], other["made_by"]) == ([], [])
    assert third_token["made_by"] == [first["id"], second_token["id"]]
    before = root.world.repo.view.head().applied
    answer = root.http.delete(f"/v1/tokens/{first['id']}?with_made=true")
    assert answer.status_code == 200
    assert answer.get_json(force=True)["revoked"] == [first["id"], second_token["id"], third_token["id"]]
    assert root.world.repo.view.head().applied == before + 1, "by one entry"
    fresh(root)
    assert [each.http.get("/v1/me").status_code for each in (ada, second, third)] == [401] * 3
    assert left(root) == [other["id"]]
    assert root.http.delete(f"/v1/tokens/{first['id']}?with_made=true").status_code == 404


def test_what_a_revoked_token_made_is_found_also_through_one_that_is_gone(root: Api) -> None:
    """Who has a stolen token may revoke what stands in between."""
    grants(root, "user:ada reader /")
    ada, first = made(root, "user:ada")
    second, second_token = made(ada, "user:ada")
    third, _ = made(second, "user:ada")
    for token in (first, second_token):
        assert root.http.delete(f"/v1/tokens/{token['id']}").status_code == 204
    emptied(root.world)
    fresh(root)
    assert third.http.get("/v1/me").status_code == 200
    assert root.http.delete(f"/v1/tokens/{first['id']}?with_made=true").status_code == 200
    fresh(root)
    assert third.http.get("/v1/me").status_code == 401 and left(root) == []


def test_more_than_one_entry_takes_are_revoked_itself_first(root: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    grants(root, "user:ada reader /")
    ada, first = made(root, "user:ada")
    others = [made(ada, "user:ada")[1]["id"] for _ in range(3)]
    monkeypatch.setattr(access, "AT_ONCE", 2)
    answer = root.http.delete(f"/v1/tokens/{first['id']}?with_made=true").get_json(force=True)
    assert answer["revoked"] == [first["id"], *others] and left(root) == []


def test_one_ends_what_one_made_and_no_tokens_of_others(root: Api) -> None:
    grants(root, "user:ada admin /", "user:bob reader /")
    ada, first = made(root, "user:ada")
    made(ada, "user:bob")
    grants(root, "user:ada reader /", "user:bob reader /")
    _, own_token = made(ada, "user:ada")
    assert ada.http.delete(f"/v1/tokens/{first['id']}?with_made=true").status_code == 403
    assert len(left(root)) == 3
    assert ada.http.delete(f"/v1/tokens/{own_token['id']}?with_made=true").status_code == 200
    bob = principal(root, "user:bob")
    assert bob.http.delete(f"/v1/tokens/{first['id']}?with_made=true").status_code == 403  # it made one of bob's
    stranger = principal(root, "user:eve")
    assert stranger.http.delete(f"/v1/tokens/{first['id']}?with_made=true").status_code == 404


def test_a_token_that_was_revoked_meanwhile_makes_none(root: Api) -> None:
    grants(root, "user:ada reader /")
    ada, first = made(root, "user:ada")
    [token] = tokens_of(root.world.repo.view, [first["id"]])
    assert ada.http.get("/v1/me").status_code == 200
    access.revoke(root.world.repo, [first["id"]], Actor(principal="root"))
    # Within its moment the API takes it for valid, and the entry is not made all the same.
    answer = ada.http.post("/v1/tokens", json={"principal": "user:ada"})
    assert answer.status_code == 401 and left(root) == []
    with pytest.raises(access.MakerRevoked):
        access.issue(root.world.repo, token, Actor(principal="user:ada", token=first["id"]))


def test_tokens_are_made_one_by_the_other_so_often_and_no_more(root: Api) -> None:
    grants(root, "user:ada reader /")
    api, _ = made(root, "user:ada")
    for _ in range(MOST_MAKERS):
        api, _ = made(api, "user:ada")
    assert api.http.post("/v1/tokens", json={"principal": "user:ada"}).status_code == 409


def test_one_sees_what_ones_token_leaves(root: Api) -> None:
    grants(root, "user:ada maintainer docs/", "everyone reader /")
    me = principal(root, "user:ada", role="writer", paths=["docs/a/", "src/"]).get("/me")
    assert me["rights"] == [{"role": "writer", "path": "docs/a/"}, {"role": "reader", "path": "src/"}]
    assert [grant["path"] for grant in me["grants"]] == ["docs/", "/"]
    assert root.get("/me")["everything"] and root.get("/me")["rights"] == []


def test_a_path_of_a_directory_without_a_slash_is_told_to_admins(root: Api) -> None:
    root.world.put({"docs/a": b"1", "file": b"2"}, root.world.tip)
    root.world.work()
    rows = [{"to": "user:ada", "role": "reader", "path": path} for path in ("docs/", "docs", "file", "none")]
    body = {"grants": [{"to": "user:ada", "role": "admin", "path": "/"}, *rows]}
    dry = root.http.put("/v1/policy?dry_run=true", json=body).get_json(force=True)
    [warning] = dry["warnings"]
    assert warning["field"] == "grants[2].path" and "docs/" in warning["message"]
    grants(root, "user:ada reader /")
    _, token = made(root, "user:ada", paths=["docs", "docs/"])
    assert [each["field"] for each in token["warnings"]] == ["paths[0]"]
    own, _ = made(root, "user:ada")
    assert "warnings" not in made(own, "user:ada", paths=["docs"])[1]
