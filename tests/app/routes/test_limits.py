"""What one principal may use: refusals, headers, the policy's quotas, and what is shown of limits."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any

import pytest

from app.routes import changesets
from storage.base.settings import Settings
from storage.coordination import Node
from tasks.upkeep import keep_up
from tests.support.api import Api, Json
from tests.support.principals import fresh, grants, principal, secured

WRITER = ("user:ada writer /", "user:bob writer /")


@pytest.fixture
def root(settings: Settings, unsent: object) -> Api:
    return secured(settings)


def quotas(root: Api, **of: Json) -> None:
    grants(root, *WRITER, quotas={name.replace("_", ":"): quota for name, quota in of.items()})


def submit(api: Api, path: str, status: int = 202, **more: Any) -> Json:
    return api.submit(status, base=api.tip, changes=[{"op": "put", "path": path, "content": path}], **more)


def test_a_rate_is_told_in_every_answer_and_refused_with_its_name_and_value(root: Api, unsent: object) -> None:
    quotas(root, user_ada={"requests_per_second": 0.3})
    ada, bob = principal(root, "user:ada"), principal(root, "user:bob")
    answers = [ada.http.get("/v1/me") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["RateLimit-Policy"] for answer in answers] == ['"requests";q=3;w=10'] * 4
    assert answers[0].headers["RateLimit"].startswith('"requests";r=2;t=')
    refused = answers[-1]
    assert refused.headers["RateLimit"] == f'"requests";r=0;t={refused.headers["Retry-After"]}'
    assert 1 <= int(refused.headers["Retry-After"]) <= 4, "a third of a request a second"
    problem = refused.get_json(force=True)
    assert (problem["limit"], problem["value"]) == ("requests_per_second", 0.3)
    assert "user:ada" in problem["detail"] and problem["type"].endswith("too-many")
    assert bob.http.get("/v1/me").status_code == 200, "it is ada's"
    assert "RateLimit" not in root.http.get("/v1/me").headers, "root has no share"
    missing = bob.http.get("/v1/changesets/0")
    assert missing.status_code == 422 and "RateLimit" in missing.headers


def test_without_tokens_nobody_has_a_share(settings: Settings, unsent: object) -> None:
    everybody = Api(replace(settings, principal_rate=0.1, max_principal_queued=1))
    for number in range(3):
        submit(everybody, f"f{number}")
    assert "RateLimit" not in everybody.http.get("/v1/head").headers
    shown = everybody.get("/limits")
    assert shown["quotas"] == [] and {"name", "value", "unit", "about"} == set(shown["limits"][0])


def test_queued_changesets_of_a_principal_are_bounded_over_all_processes(root: Api) -> None:
    quotas(root, everyone={"queued": 3})
    ada, bob = principal(root, "user:ada"), principal(root, "user:bob")
    second = ada.another().as_(ada.http.environ_base["HTTP_AUTHORIZATION"].partition(" ")[2])
    submit(ada, "a")
    submit(second, "b")
    held = submit(ada, "c", hold=True)
    for api in (ada, second):
        problem = submit(api, "d", 429)
        assert (problem["limit"], problem["value"]) == ("queued", 3)
        assert problem["detail"] == "3 changesets of user:ada are queued or held, of 3 (queued)"
    submit(bob, "e")
    root.world.work()
    submit(ada, "d")
    assert used(ada)["queued"] == {"name": "queued", "value": 3, "used": 2, "remaining": 1}
    ada.post(f"/changesets/{held['id']}/abandon", None, 200)
    assert used(ada)["queued"]["used"] == 1


def test_of_a_bulk_request_as_many_are_taken_as_there_is_room_for(root: Api) -> None:
    quotas(root, user_ada={"queued": 2})
    ada = principal(root, "user:ada")
    items = [
        {"slice": "all", "base": ada.tip, "message": "m", "changes": [{"op": "put", "path": f"f{i}", "content": "1"}]}
        for i in range(4)
    ]
    answer = ada.post("/changesets", {"changesets": items}, 202).get_json(force=True)
    assert [outcome["status"] for outcome in answer["outcomes"]] == [202, 202, 429, 429]
    assert answer["outcomes"][2]["problem"]["limit"] == "queued"
    refused = ada.post("/changesets", {"changesets": items}, 429).get_json(force=True)
    assert refused["value"] == 2


def test_what_waits_is_known_again_after_redis_was_emptied(root: Api) -> None:
    quotas(root, user_ada={"queued": 2})
    ada = principal(root, "user:ada")
    submit(ada, "a")
    held = submit(ada, "b", hold=True, priority=-7)["id"]
    redis, prefix = root.world.repo.redis, root.world.repo.view.prefix
    redis.delete(*redis.scan_iter(prefix + "*"))
    keep_up(root.world.repo)
    fresh(root)
    assert used(ada)["queued"]["used"] == 2
    assert submit(ada, "c", 429)["limit"] == "queued"
    assert ada.get(f"/changesets/{held}")["priority"] == -7


def used(api: Api) -> dict[str, Json]:
    return {each["name"]: each for each in api.get("/limits")["quotas"]}


def test_bodies_of_a_principal_are_bounded(root: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    quotas(root, user_ada={"bodies_bytes": 1000})
    ada, bob = principal(root, "user:ada"), principal(root, "user:bob")
    inside, leave = threading.Event(), threading.Event()
    load = changesets.load_changeset

    def slow(*args: Any) -> Any:
        inside.set()
        assert leave.wait(60)
        return load(*args)

    monkeypatch.setattr(changesets, "load_changeset", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(submit, ada, "a", 202, message="m" * 700)
        assert inside.wait(60)
        assert 700 < used(ada)["bodies_bytes"]["used"] < 1000
        refused = ada.http.post("/v1/slices/all/changesets", json={"message": "m" * 700})
        assert refused.status_code == 429
        problem = refused.get_json(force=True)
        assert (problem["limit"], problem["value"]) == ("bodies_bytes", 1000)
        other = bob.http.post("/v1/slices/all/check", json={"message": "m" * 700})
        assert other.status_code == 422, "it has room, and no changes"
        leave.set()
        first.result(60)
    assert used(ada)["bodies_bytes"]["used"] == 0


def test_quotas_are_a_principals_own_or_the_largest_of_its_groups_or_everybodys(root: Api) -> None:
    grants(
        root,
        *WRITER,
        groups={"few": ["user:ada", "user:bob"], "many": ["user:ada"], "free": ["user:bob"]},
        quotas={
            "everyone": {"queued": 5, "requests_per_second": 100},
            "group:few": {"queued": 7, "bodies_bytes": 10},
            "group:many": {"queued": 9},
            "group:free": {"queued": 0},
            "user:ada": {"requests_per_second": 50.5},
        },
    )
    ada, bob, eve = (principal(root, f"user:{name}") for name in ("ada", "bob", "eve"))
    values = [{name: each["value"] for name, each in used(api).items()} for api in (ada, bob, eve)]
    assert values == [
        {"requests_per_second": 50.5, "bodies_bytes": 10, "queued": 9},
        {"requests_per_second": 100.0, "bodies_bytes": 10, "queued": None},
        {"requests_per_second": 100.0, "bodies_bytes": 192 << 20, "queued": 5},
    ]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ([], "quotas"),
        ({"user": {}}, "quotas.user"),
        ({"group:none": {}}, "quotas.group:none"),
        ({"everyone": {"queued": -1}}, "quotas.everyone.queued"),
        ({"everyone": {"queued": 1.5}}, "quotas.everyone.queued"),
        ({"everyone": {"queued": True}}, "quotas.everyone.queued"),
        ({"everyone": {"requests_per_second": "many"}}, "quotas.everyone.requests_per_second"),
        ({"everyone": {"sleep": 1}}, "quotas.everyone.sleep"),
    ],
)
def test_a_quota_that_is_none_is_refused_by_its_name(root: Api, given: Any, field: str) -> None:
    body = {"grants": [{"to": "user:ada", "role": "admin", "path": "/"}], "quotas": given}
    answer = root.http.put("/v1/policy", json=body, headers={"If-Match": "*"})
    assert answer.status_code == 422, answer.data
    assert answer.get_json(force=True)["errors"][0]["field"] == field


def test_a_policy_shows_its_quotas_and_says_for_whom_others_would_change(root: Api) -> None:
    quotas(root, user_ada={"queued": 3})
    assert root.get("/policy")["quotas"] == {"user:ada": {"queued": 3}}
    wanted = {"grants": root.get("/policy")["grants"], "quotas": {"user:ada": {"queued": 4}}}
    answer = root.http.put("/v1/policy?dry_run=true", json=wanted)
    [change] = answer.get_json(force=True)["changes"]
    assert change == {"principal": "user:ada", "gains": ["quota queued 4"], "loses": ["quota queued 3"]}


def test_quotas_are_set_once_every_worker_reads_them(root: Api) -> None:
    rows = [{"to": "user:ada", "role": "admin", "path": "/"}]
    root.world.repo.nodes.say(Node("old@host", ("commits",), 1, reads=3))
    policy = {"grants": rows, "quotas": {"everyone": {"queued": 3}}}
    refused = root.http.put("/v1/policy", json=policy, headers={"If-Match": "*"})
    assert refused.status_code == 503 and "upgrade it first" in refused.get_json(force=True)["detail"]
    assert root.http.put("/v1/policy", json={"grants": rows}, headers={"If-Match": "*"}).status_code == 200


def test_every_setting_that_limits_a_request_is_shown_with_its_value(root: Api) -> None:
    shown = {each["name"]: each["value"] for each in root.get("/limits")["limits"]}
    names = {info.name for info in fields(Settings) if info.name.startswith("max_")}
    assert names - shown.keys() == {"max_commit_changesets", "max_queue_age"}
    assert shown["max_bulk_changesets"] == 1000 and shown["principal_rate"] == 5000.0
    assert not any("secret" in name or "token" in name or "url" in name for name in shown)


@pytest.mark.parametrize("value", [101, -101, 1.0, "1", True, None])
def test_a_priority_is_a_number_from_minus_100_to_100(root: Api, value: Any) -> None:
    assert submit(root, "f", 422, priority=value)["errors"][0]["field"] == "priority"


def test_a_priority_above_0_needs_a_maintainer_at_its_paths(root: Api) -> None:
    grants(root, "user:ada writer /", "user:ada maintainer a/")
    ada = principal(root, "user:ada")
    assert submit(ada, "a/f", priority=100)["priority"] == 100
    problem = submit(ada, "b/f", 403, priority=1)
    assert (problem["path"], problem["role"]) == ("b/f", "maintainer")
    made = submit(ada, "b/f", priority=-100)
    assert ada.get(f"/changesets/{made['id']}")["priority"] == -100
    root.world.work()
    assert ada.get(f"/changesets/{made['id']}")["priority"] == -100, "the record has it"
    assert "priority" not in submit(ada, "b/g")


def test_a_priority_is_a_part_of_what_a_key_stands_for(root: Api) -> None:
    body: Json = {"base": root.tip, "changes": [{"op": "put", "path": "f", "content": "1"}], "key": "k"}
    first = root.submit(priority=5, **body)
    assert root.submit(priority=5, **body)["id"] == first["id"]
    assert root.submit(422, priority=6, **body)["type"].endswith("key-reused")


def test_who_rebases_keeps_a_high_priority_only_as_a_maintainer(root: Api) -> None:
    grants(root, *WRITER)
    ada = principal(root, "user:ada")
    grants(root, "user:ada maintainer /")
    made = [submit(ada, f"f{number}", priority=priority, hold=True) for number, priority in enumerate((9, 9, -9))]
    assert ada.post(f"/changesets/{made[0]['id']}/rebase", None, 202).get_json(force=True)["priority"] == 9
    grants(root, *WRITER)
    assert "priority" not in ada.post(f"/changesets/{made[1]['id']}/rebase", None, 202).get_json(force=True)
    assert ada.post(f"/changesets/{made[2]['id']}/rebase", None, 202).get_json(force=True)["priority"] == -9
