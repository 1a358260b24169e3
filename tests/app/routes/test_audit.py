"""The audit: who did what, from where, with which token and in which request, as the log says it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from storage.base.logging_setup import hide_secrets
from storage.base.settings import Settings
from storage.commit import commit_batch
from storage.coordination import Node
from storage.log.entry import decode
from storage.log.log import Log
from storage.operations import audit
from storage.operations.slices import define
from tests.support.api import Api, Json, walk
from tests.support.compaction import aged, compacted
from tests.support.principals import ROOT_TOKEN, grants, principal, secured

NAMES = {"_document_id", "created_at", "action", "actor", "actor_ip", "token_id", "request_id"}


@pytest.fixture
def root(settings: Settings, unsent: object) -> Api:
    return secured(settings)


@pytest.fixture
def ada(root: Api) -> Api:
    grants(root, "user:ada maintainer /", "user:bob writer /")
    return principal(root, "user:ada")


def rows(root: Api, **query: Any) -> list[Json]:
    """All rows, oldest first."""
    return list(root_pages(root, **{"order": "oldest", **query}))


def root_pages(root: Api, **query: Any) -> Iterator[Json]:
    cursor: dict[str, str] = {}
    while True:
        page = root.get("/audit", **query, **cursor)
        yield from page["items"]
        if page["next"] is None:
            return
        cursor = {"cursor": page["next"]}


def actions(some: list[Json]) -> list[str]:
    return [row["action"] for row in some]


def token_of(root: Api, who: str) -> str:
    return next(token["id"] for token in root.get("/tokens")["items"] if token["principal"] == who)


def change(path: str, content: str = "x") -> list[Json]:
    return [{"op": "put", "path": path, "content": content}]


def test_each_act_names_who_with_which_token_in_which_request_from_where_and_when(root: Api, ada: Api) -> None:
    answer = ada.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201)
    [row] = rows(root, action="slice.create", actor="user:ada")
    assert row.keys() == NAMES | {"slice", "name", "paths", "version"}
    assert (row["actor"], row["actor_ip"], row["token_id"]) == ("user:ada", "127.0.0.1", token_of(root, "user:ada"))
    assert row["request_id"] == answer.headers["X-Request-Id"] and row["created_at"].startswith("20")
    assert (row["name"], row["paths"], row["version"]) == ("docs", ["docs/"], 1)


def test_whatever_a_request_does_is_in_the_audit(root: Api, ada: Api) -> None:
    bob = principal(root, "user:bob")
    made = ada.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201).get_json(force=True)
    ada.http.patch(f"/v1/slices/{made['id']}", json={"paths": ["docs/", "x"]})
    held = bob.submit(base=root.tip, changes=change("a"), hold=True)["id"]
    ada.post(f"/changesets/{held}/release", None, 200)
    queued = bob.submit(base=root.tip, changes=change("b"))["id"]
    ada.post(f"/changesets/{queued}/abandon", None, 200)
    base = root.tip
    bob.submit(base=base, changes=change("c", "1"))
    root.world.work()
    lost = bob.submit(base=base, changes=change("c", "2"))["id"]
    root.world.work()
    ada.post(f"/changesets/{lost}/abandon", None, 200)
    ada.http.delete(f"/v1/slices/{made['id']}")
    root.http.delete(f"/v1/tokens/{token_of(root, 'user:bob')}")
    told = [(row["action"], row["actor"]) for row in rows(root)]
    assert told[:5] == [
        ("repository.create", None), ("slice.create", None), ("policy.replace", "root"), ("token.create", "root"),
        ("token.create", "root"),
    ]  # fmt: skip
    assert [each for each in told[5:] if each[0] != "changeset.land"] == [
        ("slice.create", "user:ada"), ("slice.change", "user:ada"), ("changeset.release", "user:ada"),
        ("changeset.submit", "user:bob"), ("changeset.abandon", "user:ada"),
        ("changeset.submit", "user:bob"), ("changeset.commit", "user:bob"),
        ("changeset.submit", "user:bob"), ("changeset.commit", "user:bob"),
        ("changeset.submit", "user:bob"), ("changeset.conflict", "user:bob"),
        ("changeset.close", "user:ada"), ("slice.delete", "user:ada"), ("token.revoke", "root"),
    ]  # fmt: skip
    assert {row["submitter"] for row in rows(root, action="changeset.abandon")} == {"user:bob"}


def test_a_merge_that_is_asked_for_names_who_asked_once_for_the_same(root: Api, ada: Api) -> None:
    ada.post("/merges", None, 202)
    assert rows(root, action="merge") == [], "nothing is pending"
    root.put("f", "1")
    commit_batch(root.world.repo)
    for _ in range(3):
        ada.post("/merges", None, 202)
    [row] = rows(root, action="merge.request")
    assert row["actor"] == "user:ada"


def test_the_audit_of_one_changeset_goes_from_its_submission_to_its_landing(root: Api, ada: Api) -> None:
    bob = principal(root, "user:bob")
    held = bob.submit(base=root.tip, changes=change("a"), hold=True)["id"]
    assert actions(root.get("/audit", changeset=held)["items"]) == ["changeset.submit"]
    ada.post(f"/changesets/{held}/release", None, 200)
    assert actions(root.get("/audit", changeset=held)["items"]) == ["changeset.submit", "changeset.release"]
    root.put("other", "1")
    root.world.work()
    answer = root.get("/audit", changeset=held)
    told = answer["items"]
    assert answer["next"] is None
    assert [(row["action"], row["actor"], row["changeset"]) for row in told] == [
        ("changeset.submit", "user:bob", held), ("changeset.release", "user:ada", held),
        ("changeset.commit", "user:bob", held), ("changeset.land", None, held),
    ]  # fmt: skip
    assert told[-1]["commit"] == root.get("/head")["main"]["commit"]
    times = [row["created_at"] for row in told]
    assert times[0] <= times[2] <= times[3]


def test_it_is_told_the_same_when_its_rows_have_left_redis(settings: Settings, unsent: object) -> None:
    root = secured(aged(settings))
    grants(root, "user:ada maintainer /")
    ada = principal(root, "user:ada")
    base = root.tip
    kept = ada.submit(base=base, changes=change("a", "1"), hold=True)["id"]
    ada.post(f"/changesets/{kept}/release", None, 200)
    root.world.work()
    lost = ada.submit(base=base, changes=change("a", "2"))["id"]
    root.world.work()
    ada.post(f"/changesets/{lost}/abandon", None, 200)
    before = {each: root.get("/audit", changeset=each)["items"] for each in (kept, lost)}
    assert actions(before[kept])[-1] == "changeset.land" and actions(before[lost])[-1] == "changeset.close"
    whole = rows(root)
    compacted(root.world)
    assert root.world.repo.view.head().archived > 0
    for each in (kept, lost):
        assert root.get("/audit", changeset=each)["items"] == before[each]
    assert rows(root)[: len(whole)] == whole


def test_who_resolves_a_conflict_closes_it(root: Api, ada: Api) -> None:
    base = root.tip
    ada.submit(base=base, changes=change("a", "1"))
    root.world.work()
    lost = ada.submit(base=base, changes=change("a", "2"))["id"]
    root.world.work()
    body = {"paths": {"a": {"take": "theirs"}}}
    new = ada.post(f"/changesets/{lost}/resolve", body, 202).get_json(force=True)["id"]
    root.world.work()
    told = root.get("/audit", changeset=lost)["items"]
    assert actions(told) == ["changeset.submit", "changeset.conflict", "changeset.close"]
    assert told[-1]["closed_by"] == new and root.get("/audit", changeset=new)["items"][0]["resolves"] == lost


def test_pages_of_any_size_give_the_same_rows_once_in_both_directions(root: Api, ada: Api) -> None:
    for number in range(3):
        ada.submit(base=root.tip, changes=change(f"f{number}"))
    root.world.work()
    whole = rows(root, limit=1000)
    assert list(walk(root, "/audit", order="oldest")) == whole
    assert list(walk(root, "/audit")) == whole[::-1]
    assert len({row["_document_id"] for row in whole}) == len(whole)
    half = whole[len(whole) // 2]["_document_id"]
    assert rows(root, after=half) == whole[len(whole) // 2 + 1 :]
    assert rows(root, after=root.get("/audit", limit=1)["through"]) == []


def test_filters_leave_out_everything_else(root: Api, ada: Api) -> None:
    ada.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201)
    ada.submit(where="docs", base=root.tip, changes=change("docs/a"))
    root.put("f", "1")
    root.world.work()
    whole = rows(root)
    docs = root.get("/slices/docs")["id"]
    assert rows(root, slice="docs") == rows(root, slice=docs) == [row for row in whole if row.get("slice") == docs]
    assert rows(root, actor="user:ada") == [row for row in whole if row["actor"] == "user:ada"] != []
    token = token_of(root, "user:ada")
    assert rows(root, token_id=token) == [row for row in whole if row["token_id"] == token] != []
    assert rows(root, action="token") == [row for row in whole if row["action"] == "token.create"] != []


def test_times_bound_a_list_and_its_reads(root: Api, ada: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "SKEW", 0.0)
    clock = iter(range(2_000_000_000, 2_100_000_000, 1000))
    monkeypatch.setattr("storage.operations.requests.time", SimpleNamespace(time=lambda: next(clock)))
    for number in range(12):
        ada.post("/slices", {"name": f"s{number}", "paths": [f"s{number}/"]}, 201)
    read: list[int] = []
    seen = audit.moment_of
    monkeypatch.setattr(audit, "moment_of", lambda entry: read.append(entry.seq) or seen(entry))
    within = {"since": "2033-05-18T04:40:00Z", "until": "2033-05-18T05:07:00Z"}
    assert [row["name"] for row in rows(root, **within)] == ["s4", "s5"]
    assert len(read) < 12
    assert [row["name"] for row in root.get("/audit", **within)["items"]] == ["s5", "s4"]


def test_a_page_reads_a_bounded_part_of_the_log(root: Api, ada: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_READ", 3)
    page = root.get("/audit", actor="user:nobody")
    assert page["items"] == [] and page["next"] is not None
    assert rows(root, actor="user:nobody") == []
    last = ada.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201).headers["X-Request-Id"]
    assert [row["request_id"] for row in root_pages(root, actor="user:ada")] == [last]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"action": "changeset.eat"}, "action"),
        ({"since": "yesterday"}, "since"),
        ({"order": "random"}, "order"),
        ({"token_id": ROOT_TOKEN}, "token_id"),
        ({"after": "x"}, "after"),
        ({"after": "1-1", "order": "newest"}, "after"),
        ({"changeset": "x"}, "id"),
        ({"who": "user:ada"}, "who"),
        ({"cursor": "x"}, "cursor"),
    ],
)
def test_a_wrong_filter_is_named(root: Api, query: Json, field: str) -> None:
    answer = root.http.get("/v1/audit", query_string=query)
    assert answer.status_code == 422 and answer.get_json(force=True)["errors"][0]["field"] == field


def test_a_cursor_is_for_its_own_filters(root: Api, ada: Api) -> None:
    following = root.get("/audit", limit=1)["next"]
    assert root.http.get("/v1/audit", query_string={"cursor": following, "actor": "root"}).status_code == 422


def test_no_secret_is_in_the_audit_and_a_leaked_token_is_found_by_its_hash(root: Api) -> None:
    made = root.post("/tokens", {"principal": "user:eve", "name": "a\nb"}, 201).get_json(force=True)
    answer = root.http.get("/v1/audit").get_data(as_text=True)
    assert made["token"] not in answer and ROOT_TOKEN not in answer
    [row] = rows(root, action="token.create")
    assert base64.b64decode(row["hashed_token"]) == hashlib.sha256(made["token"].encode()).digest()
    assert (row["token"], row["principal"]) == (made["id"], "user:eve")


def test_a_header_does_not_forge_the_address(root: Api, ada: Api) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9", "X-Real-IP": "203.0.113.9"}
    body = {"name": "docs", "paths": ["docs/"]}
    assert ada.http.post("/v1/slices", json=body, headers=forged).status_code == 201
    assert rows(root, action="slice.create")[-1]["actor_ip"] == "127.0.0.1"


def test_while_an_older_node_is_at_work_entries_have_their_former_form(settings: Settings, unsent: object) -> None:
    root = secured(settings)
    grants(root, "user:ada maintainer /")
    authorization = principal(root, "user:ada").http.environ_base["HTTP_AUTHORIZATION"]
    root.world.repo.nodes.say(Node("commits@old", ("commits",), 1, reads=3))
    ada = root.another().as_(authorization.removeprefix("Bearer "))
    held = ada.submit(base=root.tip, changes=change("a"), hold=True)["id"]
    ada.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201)
    ada.post(f"/changesets/{held}/release", None, 200)
    ada.post(f"/changesets/{held}/abandon", None, 200)
    repo = root.world.repo
    entries = [decode(data) for data in repo.log.read_range(1, repo.view.head().applied) if data]
    assert {entry.format for entry in entries} == {1, 3}
    [*_, created, released, _, abandoned] = rows(root)
    assert actions([created, released, abandoned]) == ["slice.create", "changeset.release", "changeset.abandon"]
    for row in (created, released, abandoned):
        assert row["actor"] is None and row["created_at"], "the time is in the id of the entry's writer"


def test_without_tokens_entries_are_as_they_were(api: Api) -> None:
    api.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201)
    define(api.world.repo, "other", ["other/"])
    assert {row["actor"] for row in rows(api)} == {None}


def test_a_refusal_is_one_line_with_who_what_and_why(root: Api, ada: Api) -> None:
    with capture_logs() as logs:
        answer = ada.http.get("/v1/audit")
        root.as_("slc_" + "x" * 36).http.get("/v1/head")
    first, second = [line for line in logs if line["event"] == "access_refused"]
    assert (first["status"], first["principal"], first["path"]) == (403, "user:ada", "/v1/audit")
    assert first["token_id"] == token_of(root, "user:ada") and "admin" in first["reason"] and first["address"]
    assert answer.status_code == 403
    assert (second["status"], second["reason"]) == (401, "the token is not valid") and "principal" not in second
    assert "slc_x" not in str(logs)
    assert hide_secrets(None, "", dict(first))["token_id"] == first["token_id"], "it is not hidden as a token is"


def test_refused_parts_of_a_request_are_one_line(root: Api) -> None:
    grants(root, "user:bob reader /")
    bob = principal(root, "user:bob")
    with capture_logs() as logs:
        bob.post("/slices", {"slices": [{"name": name, "paths": [name]} for name in "ab"]}, 403)
    [line] = [line for line in logs if line["event"] == "access_refused"]
    assert (line["status"], line["parts"], line["principal"]) == (403, 2, "user:bob")


def test_a_request_that_was_done_says_who_sent_it(root: Api, ada: Api) -> None:
    with capture_logs() as logs:
        ada.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201)
    [line] = [line for line in logs if line["event"] == "request_done"]
    assert (line["principal"], line["token_id"]) == ("user:ada", token_of(root, "user:ada"))


def test_an_address_that_a_trusted_proxy_forwards_is_told(settings: Settings, unsent: object) -> None:
    root = secured(settings, trusted_proxies="127.0.0.0/8")
    forwarded = {"X-Forwarded-For": "203.0.113.9, 198.51.100.1"}
    body = {"name": "docs", "paths": ["docs/"]}
    assert root.http.post("/v1/slices", json=body, headers=forwarded).status_code == 201
    assert rows(root, action="slice.create")[-1]["actor_ip"] == "198.51.100.1"


def test_one_changeset_costs_the_entries_that_are_about_it(
    root: Api, ada: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = ada.submit(base=root.tip, changes=change("a"), hold=True)["id"]
    for number in range(10):
        root.put(f"f{number}", "1")
        root.world.work()
    ada.post(f"/changesets/{held}/release", None, 200)
    for number in range(10, 15):
        root.put(f"f{number}", "1")
        commit_batch(root.world.repo)
    root.world.work()
    read: list[range] = []
    seen = Log.read_range
    monkeypatch.setattr(
        Log, "read_range", lambda self, first, last: read.append(range(first, last + 1)) or seen(self, first, last)
    )
    told = root.get("/audit", changeset=held)["items"]
    assert actions(told) == ["changeset.submit", "changeset.release", "changeset.commit", "changeset.land"]
    assert len(read) <= 3 and {len(some) for some in read} == {1}
    read.clear()
    root.get("/audit", limit=2)
    assert sum(map(len, read)) <= 4
