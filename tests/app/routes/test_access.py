"""Tokens and the policy by the API: who gets in, who may set what, and what becomes of it at once."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from app.admin.verify import verify
from storage.access.tokens import RANDOM_DIGITS, secret_of
from storage.base.settings import Settings
from storage.coordination import Node
from tests.support.api import Api
from tests.support.compaction import aged_world, compacted, emptied
from tests.support.principals import ROOT_TOKEN, fresh, grants, principal, secured


@pytest.fixture
def root(settings: Settings, unsent: object) -> Api:
    return secured(settings)


def status(api: Api, at: str = "/v1/head", **headers: str) -> int:
    return api.http.get(at, headers=headers).status_code


# --- getting in -------------------------------------------------------------------------------------------------------


def test_without_any_token_everybody_may_do_everything(api: Api) -> None:
    assert api.get("/me") == {"principal": "unknown", "everything": True, "grants": [], "rights": [], "token": None}


def test_with_a_root_token_nobody_else_gets_in(root: Api) -> None:
    assert root.get("/me")["principal"] == "root"
    answer = root.as_(None).http.get("/v1/head")
    assert answer.status_code == 401 and answer.get_json(force=True)["title"] == "Who asks is not known"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.content_type == "application/problem+json"
    for at in ("/healthz", "/readyz"):
        assert status(root.as_(None), at) == 200


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {secret_of('x' * RANDOM_DIGITS)}",
        f"Bearer {ROOT_TOKEN}x",
        "Bearer",
        "Bearer ",
        "Bearer \xe9\xe8",
        "Basic eDo=",
        "Basic ",
        "Basic !!!",
        "Basic " + base64.b64encode(b"user:wrong").decode(),
        "Digest abc",
        ROOT_TOKEN,
    ],
)
def test_a_wrong_credential_is_a_401_and_no_more(root: Api, header: str) -> None:
    answer = root.as_(None).http.get("/v1/head", headers={"Authorization": header})
    assert answer.status_code == 401 and "slc_" not in answer.get_data(as_text=True).replace("slc_…", "")


def test_a_token_is_sent_as_bearer_or_as_the_password_of_basic(root: Api) -> None:
    basic = base64.b64encode(f"anything:{ROOT_TOKEN}".encode()).decode()
    assert status(root.as_(None), Authorization=f"Basic {basic}") == 200
    assert status(root.as_(None), Authorization=f"bearer {ROOT_TOKEN}") == 200


def test_a_route_that_is_not_there_is_a_404_to_everybody(root: Api) -> None:
    assert status(root.as_(None), "/v1/nothing") == 404


def test_metrics_need_a_reader_of_everything_unless_they_are_open(root: Api, settings: Settings) -> None:
    grants(root, "agent:a reader docs/")
    assert status(root, "/metrics") == 200
    assert status(root.as_(None), "/metrics") == 401
    assert status(principal(root, "agent:a"), "/metrics") == 403
    other = secured(settings, repository=settings.repository + "2", open_metrics=True)
    assert status(other.as_(None), "/metrics") == 200


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_is_made_shown_listed_and_revoked(root: Api) -> None:
    grants(root, "agent:a reader /")
    made = root.post("/tokens", {"principal": "agent:a", "name": "for a"}, 201).get_json(force=True)
    fresh(root)
    agent = root.as_(made["token"])
    assert agent.get("/me")["principal"] == "agent:a"
    [listed] = root.get("/tokens")["items"]
    assert listed == {key: value for key, value in made.items() if key != "token"} and listed["by"] == "root"
    assert agent.get("/tokens")["items"] == [listed]
    assert root.http.delete(f"/v1/tokens/{made['id']}").status_code == 204
    fresh(root)
    assert status(agent) == 401 and root.get("/tokens")["items"] == []
    assert root.http.delete(f"/v1/tokens/{made['id']}").status_code == 404


def test_a_revoked_token_stays_so_when_redis_is_lost(root: Api) -> None:
    grants(root, "agent:a reader /")
    agent, other = principal(root, "agent:a"), principal(root, "agent:a")
    [first, _] = root.get("/tokens")["items"]
    root.http.delete(f"/v1/tokens/{first['id']}")
    emptied(root.world)
    fresh(root)
    assert (status(agent), status(other), status(root)) == (401, 200, 200)
    assert root.get("/policy")["version"] == 1


def test_a_token_is_not_looked_up_in_an_older_copy_of_redis(root: Api) -> None:
    """What is found there would be remembered, also when Redis is as new as the log again."""
    grants(root, "agent:a reader /")
    valid, revoked = principal(root, "agent:a"), principal(root, "agent:a")
    repo, of = root.world.repo, {token["id"]: token for token in root.get("/tokens")["items"]}
    redis, rows = repo.redis, repo.view.key("tokens")
    before = redis.hgetall(rows)
    root.http.delete(f"/v1/tokens/{max(of)}")
    [kept] = after = redis.hgetall(rows)
    recovered = repo.view.prefix + "recovered"
    run = redis.get(recovered)
    fresh(root)
    assert root.get("/policy")["version"] == 1  # which has the API look: it need not again for a moment
    redis.hset(rows, mapping=before)
    redis.hdel(rows, kept)
    redis.set(recovered, "an earlier run")
    assert (status(valid), status(revoked)) == (503, 503)
    redis.delete(rows)
    redis.hset(rows, mapping=after)
    redis.set(recovered, run)
    assert (status(valid), status(revoked)) == (200, 401)


def test_policy_and_tokens_stay_when_the_entries_that_made_them_are_archived(root: Api) -> None:
    grants(root, "agent:a reader docs/")
    grants(root, "agent:a reader /")
    agent, gone = principal(root, "agent:a"), principal(root, "agent:a")
    root.http.delete(f"/v1/tokens/{root.get('/tokens')['items'][1]['id']}")
    old = aged_world(root.world)
    old.put({"docs/a": b"1"}, old.tip)
    old.work()
    compacted(old)
    head = old.repo.view.head()
    assert head.archived > head.access > 0
    sent = [api.http.environ_base["HTTP_AUTHORIZATION"] for api in (agent, gone)]
    for world in (root.world.reopened(), emptied(root.world)):
        api = secured(world.repo.settings, world)
        assert [status(api.as_(None), Authorization=each) for each in sent] == [200, 401]
        assert api.get("/policy")["version"] == 2
    assert verify(root.world.repo).differences == []


def test_the_next_request_after_a_moment_sees_a_revocation_of_another_process(root: Api) -> None:
    grants(root, "agent:a reader /")
    agent = principal(root, "agent:a")
    assert status(agent) == 200
    other = root.another().as_(ROOT_TOKEN)
    [token] = other.get("/tokens")["items"]
    assert other.http.delete(f"/v1/tokens/{token['id']}").status_code == 204
    fresh(root)
    assert status(agent) == 401


def test_a_token_is_limited_to_a_role_and_to_paths(root: Api) -> None:
    grants(root, "user:ada maintainer /")
    for limits in ({"role": "reader"}, {"paths": ["docs/"]}):
        ada = principal(root, "user:ada", **limits)
        answer = ada.http.post("/v1/slices", json={"name": "src", "paths": ["src/"]})
        assert answer.status_code == 403 and answer.get_json(force=True)["role"] == "maintainer"
    assert principal(root, "user:ada").http.post("/v1/slices", json={"name": "s", "paths": ["s/"]}).status_code == 201


def test_an_expired_token_is_refused(root: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    grants(root, "agent:a reader /")
    agent = principal(root, "agent:a", expires="2999-01-01T00:00:00Z")
    assert status(agent) == 200
    monkeypatch.setattr("app.access.authentication.time.time", lambda: 40e9)
    assert status(agent) == 401


def test_one_may_make_tokens_for_oneself_by_an_unlimited_one_alone(root: Api) -> None:
    grants(root, "user:ada reader /")
    ada = principal(root, "user:ada")
    assert ada.http.post("/v1/tokens", json={"principal": "user:ada", "role": "reader"}).status_code == 201
    refused = ada.http.post("/v1/tokens", json={"principal": "user:bob"})
    assert refused.status_code == 403 and refused.get_json(force=True)["role"] == "admin"
    limited = principal(root, "user:ada", role="writer")
    assert limited.http.post("/v1/tokens", json={"principal": "user:ada"}).status_code == 403


def test_without_a_root_token_no_token_is_issued(api: Api) -> None:
    """The first one would lock everybody out: nobody could set a policy."""
    answer = api.http.post("/v1/tokens", json={"principal": "user:ada"})
    assert answer.status_code == 409 and "root_token_sha256" in answer.get_json(force=True)["detail"]


def test_without_a_root_token_no_policy_is_set(api: Api) -> None:
    body = {"grants": [{"to": "user:ada", "role": "admin", "path": "/"}]}
    answer = api.http.put("/v1/policy", json=body, headers={"If-Match": "*"})
    assert answer.status_code == 409 and api.get("/me")["everything"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "principal"),
        ({"principal": "ada"}, "principal"),
        ({"principal": "group:web"}, "principal"),
        ({"principal": "user:ada", "role": "king"}, "role"),
        ({"principal": "user:ada", "paths": ["/x"]}, "paths[0]"),
        ({"principal": "user:ada", "expires": "2001-01-01T00:00:00Z"}, "expires"),
        ({"principal": "user:ada", "name": "x" * 201}, "name"),
        ({"principal": "user:ada", "secret": "x"}, "secret"),
    ],
)
def test_a_wrong_request_for_a_token_names_its_field(root: Api, body: Any, field: str) -> None:
    answer = root.http.post("/v1/tokens", json=body)
    assert answer.status_code == 422 and answer.get_json(force=True)["errors"][0]["field"] == field
    assert root.get("/tokens")["items"] == []


def test_while_an_older_node_is_at_work_no_token_is_issued(root: Api) -> None:
    root.world.repo.nodes.say(Node("commits@old", ("commits",), 1, reads=2))
    answer = root.another().as_(ROOT_TOKEN).http.post("/v1/tokens", json={"principal": "user:ada"})
    assert answer.status_code == 503 and "older version" in answer.get_json(force=True)["detail"]


# --- the policy -------------------------------------------------------------------------------------------------------

ADMIN = {"to": "user:admin", "role": "admin", "path": "/"}


def test_a_policy_is_set_by_version(root: Api) -> None:
    first = root.http.put("/v1/policy", json={"grants": [ADMIN]}, headers={"If-Match": '"0"'})
    assert first.status_code == 200 and first.headers["ETag"] == '"1"'
    shown = root.get("/policy")
    assert shown == {
        "version": 1,
        "authors": "any",
        "groups": {},
        "grants": [ADMIN],
        "people": {},
        "quotas": {},
        "identities": [],
    }
    again = root.http.put("/v1/policy", json=shown, headers={"If-Match": '"0"'})
    assert again.status_code == 200 and again.get_json(force=True)["version"] == 1, "a repeat changes nothing"
    more = {**shown, "grants": [ADMIN, {"to": "everyone", "role": "reader", "path": "docs/"}]}
    stale = root.http.put("/v1/policy", json=more, headers={"If-Match": '"0"'})
    assert stale.status_code == 412 and stale.get_json(force=True)["version"] == 1
    assert root.http.put("/v1/policy", json=more).status_code == 428
    assert root.http.put("/v1/policy", json=more, headers={"If-Match": '"1"'}).status_code == 200


def test_whoever_has_set_a_policy_is_shown_it_at_once(root: Api) -> None:
    """Also before the half second is over in which the API looks at it again: it is what one edits next."""
    body: dict[str, Any] = {"grants": [ADMIN]}
    for version in range(1, 4):
        body["groups"] = {f"g{version}": []}
        root.as_(None).http.get("/v1/head")
        assert root.http.put("/v1/policy", json=body, headers={"If-Match": f'"{version - 1}"'}).status_code == 200
        assert root.get("/policy")["version"] == version
        dry = root.http.put("/v1/policy?dry_run=true", json=body).get_json(force=True)
        assert (dry["version"], dry["changes"]) == (version, [])


def test_a_dry_run_says_what_changes_for_whom(root: Api) -> None:
    grants(root, "user:ada writer docs/", "group:web reader src/", groups={"web": ["user:bob"]})
    rows = [{"to": "user:admin", "role": "admin", "path": "/"}, {"to": "user:ada", "role": "reader", "path": "docs/"}]
    answer = root.http.put("/v1/policy?dry_run=true", json={"grants": rows, "groups": {"web": ["user:bob"]}})
    assert answer.status_code == 200 and answer.get_json(force=True) == {
        "version": 1,
        "changes": [
            {"principal": "user:ada", "gains": ["reader on docs/"], "loses": ["writer on docs/"]},
            {"principal": "user:bob", "gains": [], "loses": ["reader on src/"]},
        ],
        "warnings": [],
    }
    fresh(root)
    assert root.get("/policy")["version"] == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"grants": []}, "grants"),
        ({"grants": [{"to": "user:a", "role": "writer", "path": "/"}]}, "grants"),
        ({"grants": [{"to": "everyone", "role": "admin", "path": "/"}]}, "grants"),
        ({"grants": [ADMIN, {"to": "user:a", "role": "admin", "path": "docs/"}]}, "grants[1].path"),
        ({"grants": [ADMIN, {"to": "group:no", "role": "reader", "path": "/"}]}, "grants[1].to"),
        ({"grants": [ADMIN, {"to": "ada", "role": "reader", "path": "/"}]}, "grants[1].to"),
        ({"grants": [ADMIN, {"to": "user:a", "role": "reader", "path": "../x"}]}, "grants[1].path"),
        ({"grants": [ADMIN, {"to": "user:a", "role": "boss", "path": "/"}]}, "grants[1].role"),
        ({"grants": [ADMIN, {"to": "user:a", "role": "reader", "path": "/", "until": "soon"}]}, "grants[1].until"),
        ({"grants": [ADMIN], "groups": {"a b": []}}, "groups.a b"),
        ({"grants": [ADMIN], "groups": {"web": ["x"]}}, "groups.web[0]"),
        ({"grants": [ADMIN], "people": {"user:a": {"name": "A", "emails": []}}}, "people.user:a.emails"),
        ({"grants": [ADMIN], "people": {"user:a": {"name": "<", "emails": ["a@b"]}}}, "people.user:a.name"),
        ({"grants": [ADMIN], "authors": "none"}, "authors"),
        ({"grants": [ADMIN], "more": 1}, "more"),
    ],
)
def test_a_wrong_policy_names_its_field(root: Api, body: Any, field: str) -> None:
    answer = root.http.put("/v1/policy", json=body, headers={"If-Match": "*"})
    assert answer.status_code == 422, answer.data
    assert answer.get_json(force=True)["errors"][0]["field"] == field
    assert root.get("/policy")["version"] == 0


def test_only_an_admin_sees_and_sets_the_policy(root: Api) -> None:
    grants(root, "user:ada maintainer /")
    ada = principal(root, "user:ada")
    assert status(ada, "/v1/policy") == 403
    assert ada.http.put("/v1/policy", json={"grants": [ADMIN]}, headers={"If-Match": "*"}).status_code == 403
    assert principal(root, "user:admin").get("/policy")["version"] == 1


@pytest.mark.parametrize("given", ["", "3x", '"1", "2"', '"-1"', f'"{"9" * 5000}"', "\u00b2"])
def test_a_version_that_is_none_is_refused_by_a_dry_run_as_well(root: Api, given: str) -> None:
    for url in ("/v1/policy", "/v1/policy?dry_run=true"):
        answer = root.http.put(url, json={"grants": [ADMIN]}, headers={"If-Match": given})
        assert answer.status_code == 428, answer.data


def test_one_sees_what_oneself_may(root: Api) -> None:
    grants(root, "user:ada writer docs/", "group:web reader web/", "everyone reader x/", groups={"web": ["user:ada"]})
    me = principal(root, "user:ada", paths=["docs/"]).get("/me")
    assert me["everything"] is False and me["token"]["paths"] == ["docs/"]
    assert [(grant["to"], grant["role"], grant["path"]) for grant in me["grants"]] == [
        ("user:ada", "writer", "docs/"), ("group:web", "reader", "web/"), ("everyone", "reader", "x/"),
    ]  # fmt: skip
